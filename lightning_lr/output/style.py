"""How every figure looks: a white background, a thin grid, colors that color-blind readers can tell apart.

Figures are made without pyplot, so that no window opens and no global state changes.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["COLORS", "INK", "dress", "entitle", "new_figure"]

# Okabe and Ito (2008).
COLORS = {
    "blue": "#0072B2",
    "vermilion": "#D55E00",
    "green": "#009E73",
    "purple": "#CC79A7",
    "orange": "#E69F00",
    "sky": "#56B4E9",
}
INK = "0.25"


def new_figure() -> "Figure":
    """Return an empty figure."""
    from matplotlib.figure import Figure

    # TensorBoard's column is this wide and cuts off the rest.
    return Figure(figsize=(8, 4.5), dpi=100, layout="constrained", facecolor="white")


def dress(axes: "Axes") -> None:
    """Remove two sides of the frame and add a grid."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color("0.6")
    axes.tick_params(which="both", color="0.6", labelcolor=INK)
    axes.xaxis.label.set_color(INK)
    axes.yaxis.label.set_color(INK)
    axes.grid(visible=True, color="0.92", linewidth=0.8)
    axes.set_axisbelow(True)


def entitle(axes: "Axes", title: str) -> None:
    """Write a title above the axes."""
    axes.set_title(title, loc="left", fontsize="medium", color="0.1", pad=10)
