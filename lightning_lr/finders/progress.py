"""A progress bar for work before the first batch, in the style of the Trainer's."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from lightning_lr.fit.lightnings import RichProgressBar, TQDMProgressBar, Trainer, lightning_of

__all__ = ["progress_bar"]

Advance = Callable[[], None]


@contextmanager
def progress_bar(trainer: Trainer, description: str, total: int) -> Iterator[Advance]:
    """Show a bar like the Trainer's, rich, tqdm or none, and yield a function to call after every step.

    More steps than `total` may come.
    """
    bar = trainer.progress_bar_callback
    if isinstance(bar, TQDMProgressBar) and bar.is_enabled:
        kind = lightning_of(bar).callbacks.progress.tqdm_progress.Tqdm
        with kind(total=total, desc=description, leave=False, dynamic_ncols=True) as tqdm:
            yield lambda: _advance_tqdm(tqdm)
    elif isinstance(bar, RichProgressBar) and bar.is_enabled:
        with _rich_bar(bar, description, total) as advance:
            yield advance
    else:
        yield lambda: None


def _advance_tqdm(tqdm: Any) -> None:
    tqdm.total = max(tqdm.total, tqdm.n + 1)
    tqdm.update()


@contextmanager
def _rich_bar(bar: RichProgressBar, description: str, total: int) -> Iterator[Advance]:
    from rich.progress import Progress  # noqa: PLC0415 (only RichProgressBar needs rich)

    # Two live displays cannot share a terminal.
    interrupted = bar.progress if bar.progress is not None and bar.progress.live.is_started else None
    if interrupted is not None:
        interrupted.stop()
    try:
        with Progress(transient=True) as progress:
            task = progress.add_task(description, total=total)
            yield lambda: progress.advance(task)
    finally:
        if interrupted is not None:
            interrupted.start()
