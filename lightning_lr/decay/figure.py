"""The figure of the plan of a fit, from the base LRs that it began with."""

from typing import TYPE_CHECKING

from lightning_lr.decay.schedule import Schedule
from lightning_lr.fit.lightnings import Trainer

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from lightning_lr.preview.planned import Preview

__all__ = ["PlanFigure"]


class PlanFigure:
    """The figure of the last fit that has made a step.

    Attributes:
        is_due: Whether that of the running fit is still to come.
    """

    def __init__(self) -> None:
        self.is_due = True
        self._planned: Preview | None = None
        self._problem = "LRDecay has nothing to plot before `Trainer.fit` has made its first step."

    def keep(self, trainer: Trainer, schedule: Schedule) -> None:
        """Keep what there is to draw, once every callback has found its base LR."""
        # The figure is that of the preview, which looks down on this room: hence not at the top.
        from lightning_lr.preview.of_fit import planned_run  # noqa: PLC0415

        self.is_due = False
        try:
            self._planned = planned_run(trainer, schedule)
        except ValueError as error:
            self._planned, self._problem = None, f"LRDecay cannot draw this run. {error}"

    def draw(self) -> "Figure":
        """Draw the figure.

        Raises:
            RuntimeError: There is none, with the reason.
        """
        if self._planned is None:
            raise RuntimeError(self._problem)
        return self._planned.figure()
