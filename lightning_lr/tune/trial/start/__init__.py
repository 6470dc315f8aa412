"""First on the PYTHONPATH of a trial, for the `sitecustomize` in it."""
