"""The table of a plan for the terminal."""

from collections.abc import Mapping, Sequence

__all__ = ["as_text", "shortened"]

_MOST_COLUMNS = 6


def as_text(
    title: str,
    rows: Sequence[tuple[int | None, int | None, Mapping[str, float]]],
    base_lrs: Mapping[str, float],
    *,
    unit: str = "step",
    found_by: str = "",
) -> str:
    """Return a table of factors and LRs, below the title and the base LRs.

    Args:
        title: The first line.
        rows: Epoch, step, and factors and LRs by the headers of their columns; a column of None is left out.
        base_lrs: The base LR of each parameter group by its name.
        unit: The header of the column of steps.
        found_by: The callback that is going to find other base LRs, if any.

    Example:
        >>> rows = [(0, 0, {"factor": 1.0}), (0, 1, {"factor": 0.5})]
        >>> print(as_text("Two steps", rows, {"lr/SGD": 0.1}, found_by="LRRangeTest"))
        Two steps
        base LR: found at fit start by LRRangeTest, in place of 0.1
        <BLANKLINE>
        epoch  step  factor
            0     0       1
            0     1     0.5
    """
    headers = list(rows[0][2]) if rows else []
    columns = [
        ("epoch", [str(epoch) for epoch, _, _ in rows if epoch is not None]),
        (unit, [str(step) for _, step, _ in rows if step is not None]),
        *((header, [f"{values[header]:.4g}" for *_, values in rows]) for header in headers),
    ]
    lines = [title, *_base_lines(base_lrs, found_by), "", *_aligned([each for each in columns if each[1]])]
    return "\n".join(lines)


def shortened(base_lrs: Mapping[str, float], keys: Mapping[str, str | None] | None = None) -> dict[str, str]:
    """Return label and name of one group per base LR; of more than 6 base LRs, only the highest and lowest.

    Args:
        base_lrs: The base LR of each group by its name.
        keys: What else tells groups apart, by their names.

    Example:
        >>> shortened({"lr/SGD/pg1": 0.1, "lr/SGD/pg2": 0.1, "lr/SGD/head": 1.0})
        {'lr/SGD/pg1 (+1)': 'lr/SGD/pg1', 'lr/SGD/head': 'lr/SGD/head'}
    """
    names: dict[tuple[float, str | None], list[str]] = {}
    for name, base in base_lrs.items():
        names.setdefault((base, (keys or {}).get(name)), []).append(name)
    if len(names) > _MOST_COLUMNS:
        by_base = sorted(names, key=lambda each: each[0])
        names = {each: names[each] for each in (by_base[-1], by_base[0])}
    return {f"{first} (+{len(more)})" if more else first: first for first, *more in names.values()}


def _names_by_base(base_lrs: Mapping[str, float]) -> dict[float, list[str]]:
    names: dict[float, list[str]] = {}
    for name, base in base_lrs.items():
        names.setdefault(base, []).append(name)
    return names


def _base_lines(base_lrs: Mapping[str, float], found_by: str) -> list[str]:
    by_base = _names_by_base(base_lrs)
    if found_by:
        configured = ", ".join(f"{base:.4g}" for base in by_base)
        return [f"base LR: found at fit start by {found_by}, in place of {configured}"]
    if len(base_lrs) == 1:
        return []
    return [f"base LR {base:.4g}: {', '.join(names)}" for base, names in by_base.items()]


def _aligned(columns: Sequence[tuple[str, Sequence[str]]]) -> list[str]:
    widths = [max(map(len, [name, *cells])) for name, cells in columns]
    lines = [[name for name, _ in columns], *zip(*(cells for _, cells in columns), strict=True)]
    return ["  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)) for line in lines]
