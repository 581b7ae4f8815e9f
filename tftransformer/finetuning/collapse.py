"""Notice early that a classifier answers the same whatever the text, which a rate that is too high makes of it."""

from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np

# Updates after which a classifier that learns is well below chance, and those before over which its loss is averaged.
UPDATES = 100
_WINDOW = 50
# Fewer say nothing.
_LEAST = 25
_NOT_BELOW_CHANCE, _FAR_ABOVE_CHANCE = 0.98, 1.2
# Standard deviation of the logarithms of a label's probabilities over texts.
_SAME_ANSWER = 0.1


class NoticeCollapse(keras.callbacks.Callback):
    """A callback that prints one line if, after a hundred updates, a classifier is no better than guessing.

    No better is a loss on the training batches that is not below chance while some texts all get the same answer, or
    one that is far above chance. The loss is that which Keras logs anyway; the texts are looked at once. While the
    rate still rises nobody can tell: where the warmup is longer than 50 updates, it looks 50 updates after it.

    Args:
        chance: The loss of whoever always answers with the labels' frequencies; see `chance_loss`.
        probe: Called once: probabilities (B, C) of some texts.
        warmup: Updates until the rate is at its highest.
        batches: Batches of the run; None where nobody knows.
        accumulated: Batches to an update.
        say: Takes the line.

    Example:
        >>> model.fit(x, y, callbacks=[NoticeCollapse(0.69, lambda: model.predict(some))])  # doctest: +SKIP
        after 100 updates the loss on the training batches is 0.71, and guessing gives 0.69: …
    """

    def __init__(
        self,
        chance: float,
        probe: Callable[[], np.ndarray],
        warmup: int = 0,
        batches: int | None = None,
        accumulated: int = 1,
        say: Callable[[str], None] = print,
    ) -> None:
        super().__init__()
        self.chance, self.probe, self.say, self.accumulated = chance, probe, say, accumulated
        last = max(UPDATES, warmup + _WINDOW) * accumulated
        self._last = last if batches is None else min(last, batches)
        self._first = max(warmup * accumulated, self._last - _WINDOW * accumulated)

    def on_train_begin(self, logs: Mapping[str, Any] | None = None) -> None:
        # Of the epochs before, and of this one: batches, and the sum of their losses.
        self._before, self._now = (0, 0.0), (0, 0.0)
        self._start: tuple[int, float] | None = None
        self._done = self._last - self._first < _LEAST * self.accumulated

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        self._before, self._now = self._so_far(), (0, 0.0)

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        if self._done:
            return
        # The mean of the epoch so far, as Keras logs it.
        self._now = batch + 1, (batch + 1) * (logs or {}).get("loss", 0.0)
        batches, total = self._so_far()
        if self._start is None and batches >= self._first:
            self._start = batches, total
        if batches >= self._last:
            self._done = True
            count = batches - self._start[0]
            if count:
                self._judge(batches // self.accumulated, (total - self._start[1]) / count)

    def _so_far(self) -> tuple[int, float]:
        return self._before[0] + self._now[0], self._before[1] + self._now[1]

    def _judge(self, updates: int, loss: float) -> None:
        # A loss that is no number has a guard of its own.
        if not np.isfinite(loss) or loss < _NOT_BELOW_CHANCE * self.chance:
            return
        spread = np.log(np.maximum(self.probe(), 1e-7)).std(axis=0).max()
        same = ", and every text gets nearly the same answer" if spread < _SAME_ANSWER else ""
        if same or loss > _FAR_ABOVE_CHANCE * self.chance:
            self.say(
                f"after {updates} updates the loss on the training batches is {loss:.3f}, where guessing has "
                f"{self.chance:.3f}{same}: try a lower learning_rate, a longer warmup or another seed (or a higher "
                "learning_rate, if it was very low)"
            )


def chance_loss(
    targets: np.ndarray, num_classes: int, label_smoothing: float = 0.0, weights: np.ndarray | None = None
) -> float:
    """The least mean cross-entropy that the same answer for every row can have.

    Args:
        targets: (B,) ids, or (B, C) of 0 and 1.
        num_classes: C.
        label_smoothing: As the loss has it.
        weights: (B,) what each row's loss is multiplied by; None for 1.

    Example:
        >>> round(chance_loss(np.array([0, 1, 0, 1]), 2), 4)
        0.6931
    """
    weights = np.ones(len(targets)) if weights is None else np.asarray(weights, "float64")
    if not weights.sum() > 0:
        return 0.0
    single = np.ndim(targets) == 1
    wanted = np.eye(num_classes)[targets] if single else np.asarray(targets, "float64")
    wanted = wanted * (1 - label_smoothing) + label_smoothing / (num_classes if single else 2)
    share = np.clip(np.average(wanted, axis=0, weights=weights), 1e-12, 1.0)
    entropy = -(share * np.log(share)).sum()
    if not single:
        rest = np.clip(1 - share, 1e-12, 1.0)
        entropy = (entropy - (rest * np.log(rest)).sum()) / num_classes
    return float(weights.mean() * entropy)
