"""A progress bar for work before the first batch, in the style of the Trainer's."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

from lightning_lr.fit.lightnings import RichProgressBar, TQDMProgressBar, Trainer, lightning_of

__all__ = ["Advance", "Bar", "progress_bar"]

Advance = Callable[[], object]


class Bar(NamedTuple):
    """What moves a bar.

    Args:
        advance: To be called after every step.
        begin: Begins a phase from 0: its name, and its steps at most, None if they are not known.
    """

    advance: Advance
    begin: Callable[[str, int | None], object]


@contextmanager
def progress_bar(trainer: Trainer, description: str, total: int | None) -> Iterator[Bar]:
    """Show a bar like the Trainer's, rich, tqdm or none, for at most so many steps; None if not known."""
    bar = trainer.progress_bar_callback
    if isinstance(bar, TQDMProgressBar) and bar.is_enabled:
        kind = lightning_of(bar).callbacks.progress.tqdm_progress.Tqdm
        with kind(total=total, desc=description, leave=False, dynamic_ncols=True) as tqdm:

            def begin(description: str, total: int | None) -> None:
                tqdm.set_description(description, refresh=False)
                # Without a number, `reset` would keep the last one.
                tqdm.total = total
                tqdm.reset()

            yield Bar(tqdm.update, begin)
    elif isinstance(bar, RichProgressBar) and bar.is_enabled:
        with _rich_bar(bar, description, total) as shown:
            yield shown
    else:
        yield Bar(lambda: None, lambda *_: None)


@contextmanager
def _rich_bar(bar: RichProgressBar, description: str, total: int | None) -> Iterator[Bar]:
    from rich.progress import Progress  # noqa: PLC0415 (only RichProgressBar needs rich)

    # Two live displays cannot share a terminal.
    interrupted = bar.progress if bar.progress is not None and bar.progress.live.is_started else None
    if interrupted is not None:
        interrupted.stop()
    try:
        with Progress(transient=True) as progress:
            task = progress.add_task(description, total=total)

            def begin(description: str, total: int | None) -> None:
                # Likewise.
                progress.reset(task, total=total, description=description)

            yield Bar(lambda: progress.advance(task), begin)
    finally:
        if interrupted is not None:
            interrupted.start()
