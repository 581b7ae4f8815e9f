"""Callbacks that stop training when the loss is no longer finite, and notice a classifier that collapsed.

The usual reason for a collapse is a learning rate that is too high.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np

from tftransformer.errors import TransformerError, check_choice


class StopOnNonFinite(keras.callbacks.Callback):
    """A callback that stops `fit` at the first loss that is NaN or infinite.

    The batch is found from the running mean of the loss, which stays NaN from that batch on. It reads what
    Keras logs anyway, so that it makes no step wait.

    With the optimizers of this package the weights are never spoilt: they skip an update whose gradient is
    not finite. With another optimizer a copy of the trained weights is kept for the purpose. After
    stopping, the model has the weights of the best epoch so far; before the first validation, those before
    the bad update (or, with another optimizer, of the last epoch that was good, or of the start).

    Put it last in the list of callbacks: at the end of training it raises, and later ones would not be told.

    Args:
        monitor: The logged value by which epochs are compared.
        mode: "min" or "max": which values of it are better.
        raise_error: Whether to raise when training has ended; otherwise `message` holds the error.
        weights: The weights to keep, for training in which they join by stages. None: those that train.

    Attributes:
        message: Description of what happened and where, in one line; None as long as every loss was finite.

    Raises:
        TransformerError: From `fit`, after it has stopped; from the constructor, for an unknown mode.

    Example:
        >>> model.fit(x, y, callbacks=[StopOnNonFinite()])  # doctest: +SKIP
        tftransformer.errors.TransformerError: the loss is not finite at step 117 (epoch 2, batch 17): ...
    """

    # Keras may call it from its own thread, beside the next step.
    async_safe = True

    def __init__(
        self,
        monitor: str = "val_loss",
        mode: str = "min",
        raise_error: bool = True,
        weights: Sequence[keras.Variable] | None = None,
    ):
        super().__init__()
        check_choice("mode", mode, ("min", "max"))
        self.monitor = monitor
        self.mode = mode
        self.raise_error = raise_error
        self.weights = None if weights is None else list(weights)
        self.message: str | None = None

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        self.message = None
        self._where: tuple[int, int] | None = None
        self._epoch = self._batches = 0
        self._best: float | None = None
        self._kept, self._kept_from = None, ""
        optimizer = self._optimizer()
        # Known by what they can do, so that this file needs no TensorFlow.
        self._guarded = hasattr(optimizer, "reset_first_bad_step")
        self._accumulated = getattr(optimizer, "gradient_accumulation_steps", None) or 1
        if self._guarded:
            optimizer.reset_first_bad_step()
        else:
            self._keep("the start")

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self._epoch, self._batches = epoch, 0
        # In batches, also where several make an update, and those at the end of an epoch make one of fewer.
        self._batches_before = int(keras.ops.convert_to_numpy(self._optimizer()._iterations))

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        self._batches = batch + 1
        loss = (logs or {}).get("loss", 0.0)
        if self._where is None and not math.isfinite(loss):
            self._where = (self._epoch, self._batches)
            self.model.stop_training = True

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        logs = logs or {}
        if self._where is None and self._bad_update():
            self._where = (epoch, 0)
            self.model.stop_training = True
        if self._where is not None:
            return
        score = logs.get(self.monitor)
        if score is None:
            if not self._guarded:
                self._keep(f"epoch {epoch + 1}")
        elif math.isfinite(score) and self._better(score):
            self._best = score
            self._keep(f"epoch {epoch + 1}")

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        if self._where is None:
            return
        if self._kept is not None:
            for variable, value in self._kept:
                variable.assign(value)
        self.message = self._describe()
        self._kept = None
        if self.raise_error:
            raise TransformerError(self.message)

    def _optimizer(self) -> Any:
        # Asked of the model each time: training in stages has a new one in each.
        return getattr(self.model.optimizer, "inner_optimizer", self.model.optimizer)

    def _bad_update(self) -> int:
        return self._optimizer().first_bad_step if self._guarded else 0

    def _better(self, score: float) -> bool:
        return self._best is None or (score < self._best if self.mode == "min" else score > self._best)

    def _keep(self, label: str) -> None:
        weights = self.model.trainable_variables if self.weights is None else self.weights
        self._kept = [(weight, keras.ops.convert_to_numpy(weight.value)) for weight in weights]
        self._kept_from = label

    def _describe(self) -> str:
        epoch, batch = self._where
        update = self._bad_update()
        if batch:
            step = math.ceil((self._batches_before + batch) / self._accumulated)
            what = f"the loss is not finite at step {update or step} (epoch {epoch + 1}, batch {batch})"
        else:
            what = f"the gradient is not finite at step {update} (epoch {epoch + 1})"
        kept = f"of {self._kept_from}" if self._kept_from else "before that step"
        return (
            f"{what}: training stopped, and the weights {kept} are kept; "
            "try a smaller learning_rate, or look for faulty rows"
        )


# Updates after which a classifier that learns is well below chance, and those before over which its loss is averaged.
UPDATES = 100
_WINDOW = 50
# Fewer say nothing.
_LEAST = 25
_NOT_BELOW_CHANCE, _FAR_ABOVE_CHANCE = 0.98, 1.2
# Standard deviation of the logarithms of a label's probabilities over texts.
_SAME_ANSWER = 0.1


class CollapseMonitor(keras.callbacks.Callback):
    """A callback that prints one line if, after a hundred updates, a classifier is no better than guessing.

    No better is a loss on the training batches that is not below chance while some texts all get the same answer, or
    one that is far above chance; and a loss on these texts that is not below chance either, since dropout alone can take that of the
    batches above it. The loss of the batches is that which Keras logs anyway; the texts are looked at once. While the
    rate still rises nobody can tell: where the warmup is longer than 50 updates, it looks 50 updates after it.

    Args:
        chance: Loss of always answering with the labels' frequencies; see `chance_loss`.
        probe: Function that is called once for the probabilities (B, C) of some texts, and their loss, without dropout.
        warmup: Number of updates until the rate is at its highest.
        batches: Number of batches of the run; None where it is not known.
        accumulated: Number of batches in an update.
        say: Function that is given the line.
        stop: Whether to stop training then, as somebody will start anew.

    Attributes:
        collapsed: Whether it was noticed.

    Example:
        >>> model.fit(x, y, callbacks=[CollapseMonitor(0.69, lambda: (model.predict(some), 0.7))])  # doctest: +SKIP
        after 100 updates the loss on the training batches is 0.71, and guessing gives 0.69: …
    """

    def __init__(
        self,
        chance: float,
        probe: Callable[[], tuple[np.ndarray, float]],
        warmup: int = 0,
        batches: int | None = None,
        accumulated: int = 1,
        say: Callable[[str], None] = print,
        stop: bool = False,
    ) -> None:
        super().__init__()
        self.stop, self.collapsed = stop, False
        self.chance, self.probe, self.say, self.accumulated = chance, probe, say, accumulated
        last = max(UPDATES, warmup + _WINDOW) * accumulated
        self._last = last if batches is None else min(last, batches)
        self._first = max(warmup * accumulated, self._last - _WINDOW * accumulated)

    def on_train_begin(self, logs: Mapping[str, Any] | None = None) -> None:
        # Of the epochs before, and of this one: batches, and the sum of their losses.
        self.collapsed = False
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
        probabilities, inferred = self.probe()
        if inferred < _NOT_BELOW_CHANCE * self.chance:
            return
        spread = np.log(np.maximum(probabilities, 1e-7)).std(axis=0).max()
        same = ", and every text gets nearly the same answer" if spread < _SAME_ANSWER else ""
        if same or loss > _FAR_ABOVE_CHANCE * self.chance:
            self.collapsed = True
            found = (
                f"after {updates} updates the loss on the training batches is {loss:.3f}, where guessing has "
                f"{self.chance:.3f}{same}"
            )
            if self.stop:
                self.model.stop_training = True
                self.say(f"{found}: starting again at a third of the learning rate")
                return
            self.say(
                f"{found}: try a lower learning_rate, a longer warmup or another seed (or a higher learning_rate, if it was "
                "very low)"
            )


def chance_loss(
    targets: np.ndarray, num_classes: int, label_smoothing: float = 0.0, weights: np.ndarray | None = None
) -> float:
    """The least mean cross-entropy that the same answer for every row can have.

    Args:
        targets: Ids (B,), or zeros and ones (B, C).
        num_classes: C.
        label_smoothing: Label smoothing of the loss (0 to 1).
        weights: Factors (B,) on the rows' losses; None for 1.

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
    frequencies = np.clip(np.average(wanted, axis=0, weights=weights), 1e-12, 1.0)
    entropy = -(frequencies * np.log(frequencies)).sum()
    if not single:
        rest = np.clip(1 - frequencies, 1e-12, 1.0)
        entropy = (entropy - (rest * np.log(rest)).sum()) / num_classes
    return float(weights.mean() * entropy)
