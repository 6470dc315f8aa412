"""The learning rates of a run before training: as numbers, as a table and as a figure.

`python -m lightning_lr.preview` shows the LRs of a configuration. In the package `lightning_lr`, the name
`preview` is the function.
"""

from lightning_lr.preview.of_fit import preview_of_fit
from lightning_lr.preview.planned import PlannedStep, Preview, preview

__all__ = ["PlannedStep", "Preview", "preview", "preview_of_fit"]
