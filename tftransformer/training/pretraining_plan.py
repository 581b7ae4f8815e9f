"""What a pretraining run learns and for how long, checked without Keras."""

import dataclasses

from tftransformer.errors import TransformerError, near_miss

OBJECTIVES = ("masked_lm", "distillation", "both")
# The last part of a run that the rate never falls below, as a share of the peak.
FINAL_RATE = 0.02


def check_objective(objective: str) -> None:
    """Raise a `TransformerError` unless `objective` is one."""
    if objective not in OBJECTIVES:
        raise TransformerError(
            f"objective must be one of {', '.join(OBJECTIVES)}; got {objective!r}{near_miss(objective, OBJECTIVES)}"
        )


@dataclasses.dataclass(frozen=True)
class Schedule:
    """How long to train and how often to do what.

    Args:
        minutes: Wall clock to spend; of a resumed run the time before counts too.
        steps: Or the optimizer steps to make.
        warmup: Steps over which the rate rises from 0.
        snapshot_minutes: Between two snapshots, each with a checkpoint.
        heldout_minutes: Between two evaluations on held-out text.

    Raises:
        TransformerError: Neither or both of `minutes` and `steps`, or a number out of range.
    """

    minutes: float | None = None
    steps: int | None = None
    warmup: int = 200
    snapshot_minutes: float = 10.0
    heldout_minutes: float = 5.0

    def __post_init__(self) -> None:
        if (self.minutes is None) == (self.steps is None):
            raise TransformerError(
                f"give either minutes or steps, how long to train; got minutes={self.minutes} and steps={self.steps}"
            )
        length = self.steps if self.minutes is None else self.minutes
        if not length > 0:
            raise TransformerError(f"minutes and steps must be above 0; got {length}")
        if self.warmup < 0:
            raise TransformerError(f"warmup must be at least 0; got {self.warmup}")

    def done(self, step: int, seconds: float) -> float:
        """The share of the run that is over."""
        return step / self.steps if self.steps else seconds / (60.0 * self.minutes)

    def rate(self, step: int, done: float) -> float:
        """The learning rate as a share of its peak: up linearly, then down linearly."""
        warm = min(1.0, (step + 1) / self.warmup) if self.warmup else 1.0
        return warm * max(FINAL_RATE, 1.0 - done)
