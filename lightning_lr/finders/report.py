"""What a finder found, and its report: a decision, and text, figure and points in the loggers."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from typing_extensions import Self

from lightning_lr.dry_run.dry_run import DryRun
from lightning_lr.finders.suggestion import Decision
from lightning_lr.fit.lightnings import Trainer, rank_zero_warn
from lightning_lr.output.decisions import Entry, tell
from lightning_lr.output.drawing import draw
from lightning_lr.output.points import Point, logged_step, write_points, write_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Evidence", "Finding", "report", "tell_traces"]


@dataclass(frozen=True)
class Evidence:
    """What a decision rests on, as loggers show it.

    Args:
        tag: The name of the text and of the figure.
        points: The measured curves; x counts from 0.
        figure: Draws the figure.
        table: Makes the table below the decision, in Markdown.
    """

    tag: str
    points: Sequence[Point]
    figure: Callable[[], "Figure"]
    table: Callable[[], str]


@dataclass(frozen=True)
class Finding:
    """What a finder found.

    Args:
        decision: The LR, or why there is none.
        old_lr: The highest peak LR of the groups before.
        summary: The decision in a sentence or two.
        evidence: What it rests on; None if the test could not begin.
        traces: What the test could not put back, in words.
        limits: What was not followed, and may have changed.
        advice: What there is to do about the LR, in a sentence; empty if there is nothing.
    """

    decision: Decision
    old_lr: float
    summary: str
    evidence: Evidence | None
    traces: Sequence[str] = ()
    limits: Sequence[str] = ()
    advice: str = ""

    def after(self, dry: DryRun) -> Self:
        """Return the finding with the failures and traces of the dry run that has ended."""
        advice = [self.advice] if self.advice else []
        summary = " ".join([self.summary, *advice, *(f"{failure}." for failure in dry.failures)])
        return replace(self, summary=summary, traces=dry.traces, limits=dry.limits)


def tell_traces(trainer: Trainer, source: str, finding: Finding) -> None:
    """Report what a test has not followed, and warn of what it could not put back; all ranks call it."""
    if finding.limits:
        summary = f"Not everything that the fit holds was followed. {'; '.join(finding.limits)}."
        evidence = {"limits": list(finding.limits)}
        effect = "What steps change there is not taken back"
        entry = Entry(source, "limit", summary, effect, evidence)
        tell(trainer, entry, line=f"{summary} {effect}.")
    if not finding.traces:
        return
    traces = finding.traces
    told = "; ".join(traces)
    rank_zero_warn(
        f"{source} could not put everything back to what it was before the test. {told}. If that matters to"
        " your run, look for the LR in a run of its own, with `stop_after=True`."
    )
    summary = f"The test has left a trace. {told}."
    entry = Entry(source, "trace", summary, "LR as told above", {"traces": list(traces)})
    tell(trainer, entry, line="")


def report(
    trainer: Trainer, entry: Entry, evidence: Evidence | None, points: Sequence[Point], *, line: str
) -> None:
    """Report a finding to the console and to the loggers, its points at their x in the run.

    All ranks call it, one writes.
    """
    tell(trainer, entry, line=line)
    if not trainer.is_global_zero or evidence is None:
        return
    step = logged_step(trainer)
    write_points(trainer.loggers, points)
    draw(trainer, evidence.tag, evidence.figure, step)
    write_text(trainer.loggers, evidence.tag, f"{entry.summary} {entry.effect}.\n\n{evidence.table()}", step)
