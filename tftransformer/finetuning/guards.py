"""Stop training when the loss is no longer a finite number, and keep weights that are good."""

import math
from collections.abc import Sequence
from typing import Any

import keras

from tftransformer.errors import TransformerError


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
        message: What happened and where, in one line; None as long as every loss was finite.

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
        if mode not in ("min", "max"):
            raise TransformerError(f"mode must be 'min' or 'max'; got {mode!r}")
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
        # Known by what they can do: the package that has them is not to be imported here.
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
