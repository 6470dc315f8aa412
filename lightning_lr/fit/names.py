"""The names that users give parameter groups, beside those of their curves."""

import re

__all__ = ["plain_name", "short_names"]


def plain_name(name: str) -> str:
    """Return the name of a group without what says that it is an LR, in `group_names` or in the logs.

    Example:
        >>> [plain_name(name) for name in ("lr-AdamW/head", "lr/AdamW/head", "LR/AdamW/head", "head")]
        ['AdamW/head', 'AdamW/head', 'AdamW/head', 'head']
    """
    return re.sub("^(lr|LR)/|^lr-", "", name)


def short_names(name: str) -> list[str]:
    """Return what a user may call a group, given its name in `group_names` or LRLogger, the shortest first.

    Example:
        >>> short_names("lr-AdamW/head"), short_names("lr/SGD")
        (['head', 'AdamW/head', 'AdamW'], ['SGD', 'pg1'])
    """
    optimizer, _, own = plain_name(name).partition("/")
    return [own, f"{optimizer}/{own}", optimizer] if own else [optimizer, "pg1"]
