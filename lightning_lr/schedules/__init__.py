"""What the LR schedulers of a fit will do: copies of them run ahead, and what they derive from a base LR."""
