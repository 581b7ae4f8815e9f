"""Output of `fit`: its progress as plain lines, where Keras's bar would not show, and the figures of its epochs."""

import time
from collections.abc import Mapping
from typing import Any

import keras

# Seconds between two lines within an epoch.
_INTERVAL = 10.0


class ProgressLines(keras.callbacks.Callback):
    """Prints a line every ten seconds and one at the end of each epoch.

    Args:
        every_epoch: Whether an epoch that ends has a line, too, if the last one is not ten seconds old.

    Example:
        >>> model.fit(x, y, verbose=0, callbacks=[ProgressLines()])  # doctest: +SKIP
        epoch 1/3: step 12/27, loss 1.7412, accuracy 0.2761
    """

    def __init__(self, every_epoch: bool = True) -> None:
        super().__init__()
        self._every_epoch = every_epoch

    def on_train_begin(self, logs: Mapping[str, Any] | None = None) -> None:
        self._epoch = 0
        self._shown = time.monotonic()

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        self._epoch = epoch + 1

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        if time.monotonic() - self._shown >= _INTERVAL:
            self._shown = time.monotonic()
            self._print(f"step {batch + 1}/{self.params.get('steps') or '?'}", logs)

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        if self._every_epoch or time.monotonic() - self._shown >= _INTERVAL:
            self._shown = time.monotonic()
            self._print("done", logs)

    def _print(self, where: str, logs: Mapping[str, Any] | None) -> None:
        logs = {name: value for name, value in (logs or {}).items() if name != "learning_rate"}
        first = sorted(logs, key=lambda name: name not in ("loss", "val_loss"))
        figures = "".join(f", {name} {logs[name]:.4f}" for name in first)
        print(f"epoch {self._epoch}/{self.params.get('epochs', '?')}: {where}{figures}", flush=True)


class EpochFigures(keras.callbacks.Callback):
    """The figures of each epoch, of which not all have some on validation data.

    Attributes:
        epochs: A dictionary for each epoch.
    """

    def __init__(self) -> None:
        super().__init__()
        self.epochs: list[dict[str, float]] = []

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        del self.epochs[epoch:]  # of a run that has begun again

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        self.epochs.append(dict(logs or {}))
