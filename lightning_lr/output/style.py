"""How every figure looks: a white background, a thin grid, colors that color-blind readers can tell apart.

Figures are made without pyplot, so that no window opens and no global state changes.
"""

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "COLORS",
    "GONE",
    "GRAY",
    "INK",
    "RULES",
    "VERDICTS",
    "WARMUP_TEXT",
    "dress",
    "entitle",
    "mark_chosen",
    "new_figure",
]

# Okabe and Ito (2008), but for the red, which is Paul Tol's: theirs looks orange. Texts use these names.
COLORS = {
    "blue": "#0072B2",
    "red": "#CC3311",
    "green": "#009E73",
    "purple": "#CC79A7",
    "orange": "#E69F00",
    "sky": "#56B4E9",
}
INK = "0.25"
GRAY = "0.53"
# What was decided is red; what was given up, orange; what other rules say, dotted in these.
GONE = COLORS["orange"]
RULES = (COLORS["green"], COLORS["orange"], COLORS["purple"], COLORS["sky"], "0.3")
# Of the verdicts of PlateauDetector.
VERDICTS = {
    "undecided": "#888888",
    "improving": COLORS["blue"],
    "plateau": COLORS["orange"],
    "overfitting": COLORS["purple"],
    "diverging": COLORS["red"],
}
# The orange of a warm-up, dark enough for letters.
WARMUP_TEXT = "#8A5F00"


def new_figure(
    size: tuple[float, float] = (8, 4.5),
    *,
    dpi: float = 100,
    layout: Literal["constrained"] | None = "constrained",
) -> "Figure":
    """Return an empty figure, of a width and a height in inches."""
    from lightning_lr.output.shown_figure import ShownFigure  # noqa: PLC0415 (imports matplotlib)

    # TensorBoard's column is this wide and cuts off the rest.
    return ShownFigure(figsize=size, dpi=dpi, layout=layout, facecolor="white")


def dress(axes: "Axes") -> None:
    """Remove two sides of the frame and add a grid."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color("0.6")
    axes.tick_params(which="both", color="0.6", labelcolor=INK)
    axes.xaxis.label.set_color(INK)
    axes.yaxis.label.set_color(INK)
    axes.grid(visible=True, color="0.92", linewidth=0.8)
    axes.set_axisbelow(True)


def mark_chosen(axes: "Axes", lr: float, low: float, high: float, *, name: str = "chosen") -> None:
    """Draw the LR that was chosen, with the range it may lie in."""
    axes.axvspan(low, high, color=COLORS["red"], alpha=0.15, linewidth=0)
    axes.axvline(lr, color=COLORS["red"], linewidth=2, label=f"{name}: {lr:.2g}")


def entitle(axes: "Axes", title: str) -> None:
    """Write a title above the axes."""
    axes.set_title(title, loc="left", fontsize="medium", color="0.1", pad=10)
