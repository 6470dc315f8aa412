"""A figure that a notebook shows, also without `%matplotlib inline`; imported with matplotlib, so lazily."""

import io

from matplotlib.figure import Figure  # noqa: TID253

__all__ = ["ShownFigure"]


class ShownFigure(Figure):
    """A figure of matplotlib without pyplot."""

    def _repr_png_(self) -> bytes:
        file = io.BytesIO()
        self.savefig(file, format="png")
        return file.getvalue()
