"""What a sweep over learning rates found: the losses, two rules for a rate, and the picture."""

import os
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tftransformer.errors import TransformerError
from tftransformer.evaluation.figures import COLOURS, GREY, new_figure, plain_axes, save


@dataclass(frozen=True)
class LearningRateSweep:
    """Losses by learning rate. `str()` of it is for people.

    Attributes:
        rates: The rate of each batch.
        losses: The loss of each batch, before its update.
        smoothed: The same, as a moving average.
        steepest: The rate around which the smoothed loss falls fastest.
        tenth_of_minimum: A tenth of the rate at which the smoothed loss is least.
        diverged: Whether the sweep ended because the loss went up too far or was not finite.

    Example:
        >>> rates = [10.0**power for power in range(-6, 0)]
        >>> loss = [1.0, 0.99, 0.6, 0.45, 0.4, 3.0]
        >>> sweep = LearningRateSweep.of(rates, loss, loss, diverged=True)
        >>> f"{sweep.steepest:.0e} {sweep.tenth_of_minimum:.0e} {sweep.suggestion:.0e}"
        '1e-04 1e-03 1e-04'
    """

    rates: tuple[float, ...]
    losses: tuple[float, ...]
    smoothed: tuple[float, ...]
    steepest: float
    tenth_of_minimum: float
    diverged: bool

    @classmethod
    def of(
        cls, rates: Sequence[float], losses: Sequence[float], smoothed: Sequence[float], diverged: bool
    ) -> "LearningRateSweep":
        """A sweep with both rules applied.

        Args:
            rates, losses, smoothed: N numbers each.
            diverged: Whether it ended early.

        Raises:
            TransformerError: The loss never fell.
        """
        values = np.asarray(smoothed, np.float64)
        if not len(values):
            raise TransformerError("lowest must be a rate that trains; the loss was not finite at once")
        least = int(values.argmin())
        if least == 0:
            raise TransformerError(
                f"lowest must be a rate at which the loss still falls; it never fell from {rates[0]:.1e} to "
                f"{rates[-1]:.1e}"
            )
        steepest = rates[_steepest(np.log(rates[: least + 1]), values[: least + 1])]
        return cls(tuple(rates), tuple(losses), tuple(smoothed), steepest, rates[least] / 10.0, diverged)

    @property
    def suggestion(self) -> float:
        """The smaller of the two rules: too small a rate costs time, too large a one the pretrained weights."""
        return min(self.steepest, self.tenth_of_minimum)

    def plot(self, path: str | os.PathLike) -> None:
        """Draw the loss against the rate, with both rules marked.

        Args:
            path: The PNG.

        Raises:
            TransformerError: The disk refused.
        """
        figure = new_figure(6.4, 4.0)
        axes = figure.add_subplot()
        plain_axes(axes)
        axes.semilogx(self.rates, self.losses, color=GREY, linewidth=0.8, alpha=0.6, label="each batch")
        axes.semilogx(self.rates, self.smoothed, color=COLOURS[0], linewidth=2.0, label="smoothed")
        for rate, colour, style, label in (
            (self.steepest, COLOURS[1], "--", "steepest"),
            (self.tenth_of_minimum, COLOURS[2], ":", "a tenth of the minimum's rate"),
        ):
            axes.axvline(rate, color=colour, linestyle=style, linewidth=1.6, label=f"{label}: {rate:.1e}")
        # A sweep that diverged would press everything that matters to the floor.
        low, high = min(self.smoothed), max(self.smoothed[: int(np.argmin(self.smoothed)) + 1])
        axes.set_ylim(low - 0.3 * (high - low), high + 1.0 * (high - low))
        axes.set_xlabel("learning rate")
        axes.set_ylabel("training loss")
        figure.legend(loc="outside upper center", ncols=2, fontsize=9, frameon=False)
        save(figure, path)

    def __str__(self) -> str:
        end = "where the loss diverged" if self.diverged else "the end of the sweep"
        return (
            f"learning rates from {self.rates[0]:.1e} to {self.rates[-1]:.1e}, {end}: "
            f"steepest at {self.steepest:.1e}, a tenth of the minimum's rate is {self.tenth_of_minimum:.1e}; "
            f"try {self.suggestion:.1e}"
        )


def _steepest(rates: np.ndarray, losses: np.ndarray) -> int:
    """The middle of the window in which a straight line through (N,) losses over (N,) log rates falls fastest."""
    # One step alone is noise, even of an average; a tenth of the way down is not.
    width = min(len(rates), max(3, len(rates) // 10))
    windows = np.lib.stride_tricks.sliding_window_view
    x, y = windows(rates, width), windows(losses, width)
    x = x - x.mean(axis=1, keepdims=True)
    slopes = (x * y).sum(axis=1) / np.square(x).sum(axis=1)
    # The first averages are of few batches, and their jumps are noise, too.
    skipped = len(slopes) // 10
    return skipped + int(slopes[skipped:].argmin()) + width // 2
