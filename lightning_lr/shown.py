"""How values show themselves: as the call that makes them, and in a notebook as a figure or a table."""

import base64
import inspect
import io
from collections.abc import Callable, Mapping
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["as_call", "figure_html", "table_html", "with_result"]

_SEVERAL = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


def as_call(made: object) -> str:
    """Return the call that makes an object, without the arguments that have their defaults.

    Every argument is read from the attribute of its name.

    Example:
        >>> from lightning_lr import LRRangeTest
        >>> as_call(LRRangeTest(repeats=3))
        'LRRangeTest(repeats=3)'
    """
    given = []
    for name, parameter in inspect.signature(type(made)).parameters.items():
        value = repr(getattr(made, name, parameter.default))
        # The texts are compared, since values may be arrays.
        if parameter.kind not in _SEVERAL and value != repr(parameter.default):
            given.append(f"{name}={value}")
    return f"{type(made).__name__}({', '.join(given)})"


def with_result(made: object, result: str | None) -> str:
    """Return the call that makes an object and, once there is something, what came of it.

    Example:
        >>> from lightning_lr import LRLogger
        >>> with_result(LRLogger(), None), with_result(LRLogger(), "best validation loss 0.1")
        ('LRLogger()', '<LRLogger(): best validation loss 0.1>')
    """
    return as_call(made) if result is None else f"<{as_call(made)}: {result}>"


def figure_html(draw: Callable[[], "Figure"], text: str) -> str:
    """Return a figure as HTML, or the text if there is nothing to draw, or nothing to draw with.

    Args:
        draw: Draws the figure.
        text: What the figure shows, in words.

    Example:
        >>> def draw():
        ...     raise RuntimeError("There is nothing to see yet.")
        >>> figure_html(draw, "loss < 1")
        '<pre>loss &lt; 1</pre>'
    """
    file = io.BytesIO()
    try:
        draw().savefig(file, format="png")
    except Exception:  # noqa: BLE001 (a value that cannot be drawn is shown all the same)
        return f"<pre>{escape(text)}</pre>"
    data = base64.b64encode(file.getvalue()).decode()
    return f'<img alt="{escape(text)}" src="data:image/png;base64,{data}">'


def table_html(rows: Mapping[str, str]) -> str:
    """Return names and values as a table of two columns.

    Example:
        >>> table_html({"LR": "0.0136"})
        '<table><tr><th>LR</th><td>0.0136</td></tr></table>'
    """
    lines = [f"<tr><th>{escape(name)}</th><td>{escape(value)}</td></tr>" for name, value in rows.items()]
    return f"<table>{''.join(lines)}</table>"
