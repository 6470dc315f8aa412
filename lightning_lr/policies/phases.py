"""Policies of several phases."""

from bisect import bisect_right
from collections import abc
from dataclasses import KW_ONLY, dataclass, field
from itertools import pairwise
from typing import Annotated, Literal

from typing_extensions import override

from lightning_lr.checks import In, as_tuple, check_choice, check_flag, check_number
from lightning_lr.policies.base import Policy, take_floor
from lightning_lr.policies.shapes import cosine, linear
from lightning_lr.policies.spans import check_span, is_share, snap, span

__all__ = ["OneCycle", "Piecewise", "WarmupStableDecay"]


@dataclass(frozen=True)
class OneCycle(Policy):
    """Rise to the base LR, the peak, and anneal to far below the start.

    With P = pct_start total, low = 1/div_factor and end = low/final_div_factor:
    [0, P] low -> 1, [P, total] 1 -> end; with three phases [0, P] low -> 1, [P, 2P] 1 -> low,
    [2P, total] low -> end.

    One-cycle (Smith and Topin 2017, arXiv 1708.07120) with the names of
    `torch.optim.lr_scheduler.OneCycleLR`. Torch takes `total_steps` N as the number of values: its peak is
    at pct_start N - 1 and its end at N - 1. The same curve is `total = N - 1` with
    `pct_start = (pct_start_torch N - 1) / (N - 1)`. fastai's cycle is `pct_start=0.25`,
    `final_div_factor=4000`, since its end is relative to the peak.

    Args:
        pct_start: Share of the run until the peak, in (0, 1), with three phases in (0, 0.5).
        div_factor: Peak over start, in [1, inf).
        final_div_factor: Start over end, in [1, inf).
        anneal_strategy: Shape of the phases, `"cos"` or `"linear"`.
        three_phase: Whether to return to the start before the final descent.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: An argument is out of range.

    Example:
        >>> policy = OneCycle(pct_start=0.5, div_factor=4, final_div_factor=10)
        >>> [round(policy.factor(step, total=4), 4) for step in range(5)]
        [0.25, 0.625, 1.0, 0.5125, 0.025]
    """

    needs_end = True

    pct_start: float = 0.3
    _: KW_ONLY
    div_factor: Annotated[float, In("[1, inf)")] = 25.0
    final_div_factor: Annotated[float, In("[1, inf)")] = 1e4
    anneal_strategy: Literal["cos", "linear"] = "cos"
    three_phase: bool = False

    @override
    def __post_init__(self) -> None:
        super().__post_init__()
        check_flag("OneCycle(three_phase=...)", self.three_phase)
        shares = "(0, 0.5)" if self.three_phase else "(0, 1)"
        check_number("OneCycle(pct_start=...)", self.pct_start, shares)
        check_choice("OneCycle(anneal_strategy=...)", self.anneal_strategy, ("cos", "linear"))

    @override
    def formula(self, t: float, total: float) -> float:
        shape = cosine if self.anneal_strategy == "cos" else linear
        low = 1 / self.div_factor
        end = 1 / (self.div_factor * self.final_div_factor)
        z, peak = t / total, self.pct_start
        if z <= peak:
            return shape(low, 1.0, z / peak)
        # The last phase counts from the end, where the value must be exact.
        if not self.three_phase:
            return shape(end, 1.0, (1 - z) / (1 - peak))
        if z <= 2 * peak:
            return shape(1.0, low, (z - peak) / peak)
        return shape(end, low, (1 - z) / (1 - 2 * peak))


@dataclass(frozen=True)
class WarmupStableDecay(Policy):
    """Hold the base LR and cool down over the last part of the run.

    With u = (t - (total - cooldown)) / cooldown, during the cooldown:
    `"1-sqrt"` factor(t) = end + (1 - end) (1 - sqrt(u)),
    `"linear"` factor(t) = end + (1 - end) (1 - u),
    `"cosine"` factor(t) = end + (1 - end) (1 + cos(pi u)) / 2;
    before it 1, and t / warmup during a warm-up.

    Hägele et al. 2024, arXiv 2405.18392; also known as WSD or trapezoidal.

    Args:
        cooldown: Length of the cooldown, a count (int) of at least 1 or a share of the run (float)
            in (0, 1].
        shape: `"1-sqrt"`, `"linear"` or `"cosine"`.
        end: Factor at the end of the run, in [0, 1].
        warmup: Length of a linear warm-up from 0, a count (int) of at least 0 or a share (float) in [0, 1].
            For one of another shape, put a `Cosine` or `Polynomial` that rises before it in a `Sequence`.
        floor: The old name of `end`.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: An argument is out of range; in `factor` also if warm-up and cooldown together are longer
            than the run.

    Example:
        >>> policy = WarmupStableDecay(cooldown=4, warmup=2)
        >>> [round(policy.factor(step, total=8), 4) for step in range(9)]
        [0.0, 0.5, 1.0, 1.0, 1.0, 0.5, 0.2929, 0.134, 0.0]
    """

    needs_end = True

    # A plain `float` would make jsonargparse turn the count 1 into the share 1.0.
    cooldown: int | float = 0.2
    _: KW_ONLY
    shape: Literal["1-sqrt", "linear", "cosine"] = "1-sqrt"
    end: Annotated[float, In("[0, 1]")] = 0.0
    warmup: int | float = 0
    floor: float | None = field(default=None, repr=False, compare=False)

    @override
    def __post_init__(self) -> None:
        take_floor(self)
        super().__post_init__()
        check_span("WarmupStableDecay(cooldown=...)", self.cooldown, positive=True)
        check_choice("WarmupStableDecay(shape=...)", self.shape, ("1-sqrt", "linear", "cosine"))
        check_span("WarmupStableDecay(warmup=...)", self.warmup)
        if is_share(self.cooldown) and is_share(self.warmup):
            self.lengths(1.0)

    @override
    def formula(self, t: float, total: float) -> float:
        warmup, cooldown = self.lengths(total)
        if t < warmup:
            return t / warmup
        if t <= total - cooldown:
            return 1.0
        # Counts from the end, where the value must be exact.
        return self.cooldown_factor((total - t) / cooldown)

    def cooldown_factor(self, remaining: float) -> float:
        """Return the factor within the cooldown.

        Args:
            remaining: Share of the cooldown still ahead, 1 - u, in [0, 1].

        Example:
            >>> WarmupStableDecay(shape="linear").cooldown_factor(0.25)
            0.25
        """
        if self.shape == "1-sqrt":
            return linear(1.0, self.end, (1 - remaining) ** 0.5)
        return (cosine if self.shape == "cosine" else linear)(self.end, 1.0, remaining)

    def lengths(self, total: float) -> tuple[float, float]:
        """Return how long warm-up and cooldown take in a run of length `total`.

        Raises:
            ValueError: Together they are longer than the run.

        Example:
            >>> WarmupStableDecay(0.25, warmup=2).lengths(40)
            (2.0, 10.0)
        """
        warmup, cooldown = span(self.warmup, total), span(self.cooldown, total)
        if snap(warmup + cooldown, total) > total:
            raise ValueError(
                f"`WarmupStableDecay` must fit into the run: warmup {self.warmup!r} and cooldown"
                f" {self.cooldown!r} take {warmup + cooldown:g} of {total:g}. Shorten one of them."
            )
        return warmup, cooldown


@dataclass(frozen=True, repr=False)
class Piecewise(Policy):
    """Go through given factors at given times.

    factor(times[i]) = values[i]; between two times along `shape`; before the first and after the last the
    factor is constant.

    `"linear"` is `PiecewiseLinear` of ignite, `"cosine"` optax's `piecewise_interpolate_schedule`, and
    `"constant"`, which holds a value until the next time, Keras' `PiecewiseConstantDecay`: there a value
    holds *through* its boundary b, so the next time is b + 1.

    Args:
        times: The times in order, each a count (int) of at least 0 or a share of the run (float) in [0, 1].
        values: The factor at each time, in [0, inf).
        shape: `"linear"`, `"cosine"` or `"constant"`.

    Raises:
        TypeError: An argument or one of its elements has the wrong type.
        ValueError: An argument is empty or out of range, the numbers of times and values differ, or the times
            are not in order; in `factor` also if counts and shares are not in order in a run of that length.

    Example:
        >>> policy = Piecewise([0, 2, 4], [1.0, 0.5, 0.1])
        >>> [policy.factor(epoch) for epoch in range(6)]
        [1.0, 0.75, 0.5, 0.3, 0.1, 0.1]
    """

    # A plain `float` would make jsonargparse turn the count 1 into the share 1.0.
    times: abc.Sequence[int | float]
    values: abc.Sequence[float]
    _: KW_ONLY
    shape: Literal["linear", "cosine", "constant"] = "linear"

    @override
    def __post_init__(self) -> None:
        super().__post_init__()
        for name, content in (("times", "counts and shares"), ("values", "numbers")):
            values = as_tuple(f"Piecewise({name}=...)", getattr(self, name), content)
            object.__setattr__(self, name, values)
        for time in self.times:
            check_span("Piecewise(times=...)", time)
        for value in self.values:
            check_number("Piecewise(values=...)", value, "[0, inf)")
        if not 0 < len(self.times) == len(self.values):
            raise ValueError(
                f"`Piecewise(values=...)` must be one for each time, and at least one, got {len(self.values)}"
                f" values for {len(self.times)} times."
            )
        check_choice("Piecewise(shape=...)", self.shape, ("linear", "cosine", "constant"))
        if len(set(map(is_share, self.times))) == 1:
            self._moments(1.0)

    @property
    @override
    def needs_end(self) -> bool:
        return any(map(is_share, self.times))

    @override
    def formula(self, t: float, total: float) -> float:
        times = self._moments(total)
        passed = bisect_right(times, t)
        if passed in {0, len(times)} or self.shape == "constant":
            return self.values[max(0, passed - 1)]
        (start, end), (first, last) = times[passed - 1 : passed + 1], self.values[passed - 1 : passed + 1]
        return (cosine if self.shape == "cosine" else linear)(first, last, (t - start) / (end - start))

    def _moments(self, total: float) -> list[float]:
        """Return the times in the units of `total`."""
        times = [span(time, total) for time in self.times]
        if any(later <= earlier for earlier, later in pairwise(times)):
            raise ValueError(
                f"`Piecewise(times=...)` must each be after the one before, got {list(self.times)!r} in a run"
                f" of {total:g}."
            )
        return times
