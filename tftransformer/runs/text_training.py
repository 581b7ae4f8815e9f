"""Training of the tasks that write texts: by epochs or the clock, resumable, with the best epoch where asked for."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras

from tftransformer import files
from tftransformer.checkpoints.folders import read_json
from tftransformer.progress import say
from tftransformer.runs.progress_lines import EpochFigures, ProgressLines
from tftransformer.runs.run_folder import RunFolder
from tftransformer.tasks.writing import TextWriter

# Epochs of a run by the clock: more than any has.
MANY = 100_000


class StopAfter(keras.callbacks.Callback):
    """Ends the training with the first epoch behind which another one would take too long.

    Args:
        minutes: Time from the beginning of the training.
    """

    def __init__(self, minutes: float) -> None:
        super().__init__()
        self._seconds = 60 * minutes

    def on_train_begin(self, logs: Mapping[str, Any] | None = None) -> None:
        self._begun = self._epoch = time.monotonic()

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        self._epoch = time.monotonic()

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        now = time.monotonic()
        self.model.stop_training |= now - self._begun + (now - self._epoch) > self._seconds


class BestEpoch(keras.callbacks.Callback):
    """Ends the training with the weights of the epoch of the lowest validation loss, which it keeps in a folder.

    Keras's EarlyStopping keeps them in memory, where an interrupted run loses them.

    Args:
        folder: Where they are kept; what it holds is of the same run, interrupted.

    Attributes:
        epoch: The epoch, from 1; None before there is one.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._weights, self._record = folder / "best.weights.h5", folder / "best.json"
        self.epoch: int | None = None
        self._loss = float("inf")

    def on_train_begin(self, logs: Mapping[str, Any] | None = None) -> None:
        if self._record.is_file():
            found = read_json(self._record)
            self.epoch, self._loss = found["epoch"], found["loss"]

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        loss = (logs or {}).get("val_loss", float("inf"))
        if loss < self._loss:
            self.epoch, self._loss = epoch + 1, float(loss)
            self._weights.parent.mkdir(parents=True, exist_ok=True)
            self.model.save_weights(self._weights, overwrite=True)
            files.write_json(self._record, {"epoch": self.epoch, "loss": self._loss})

    def on_train_end(self, logs: Mapping[str, Any] | None = None) -> None:
        if self.epoch is not None:
            self.model.load_weights(self._weights)


def fit_texts(
    task: TextWriter,
    examples: Mapping[str, Any],
    run: RunFolder,
    *,
    epochs: int,
    minutes: float | None,
    batch_size: int,
    best: bool = False,
) -> dict[str, Any]:
    """Train a task on the examples `train`, watched on `validation`.

    Args:
        task: Compiled task.
        examples: By split.
        run: Folder whose checkpoint an interrupted run goes on from.
        epochs: Largest number of epochs.
        minutes: Time by the clock; None for all epochs.
        batch_size: Rows a batch.
        best: Whether the task ends with the weights of its best epoch, and not of its last one.

    Returns:
        `epochs`, the figures of each; `minutes`; and, if asked for, the number of the `best_epoch`.
    """
    figures = EpochFigures()
    callbacks: list[keras.callbacks.Callback] = [figures, ProgressLines()]
    # Before the backup, which goes when the training ends, and whatever lies in its folder with it.
    kept = BestEpoch(run.checkpoint_path) if best else None
    callbacks += [kept] if kept else []
    callbacks += [keras.callbacks.BackupAndRestore(str(run.checkpoint_path))]
    callbacks += [StopAfter(minutes)] if minutes else []
    say("training; the first step takes longest, while TensorFlow traces the model …")
    begun = time.monotonic()
    task.fit(
        examples["train"],
        validation_data=examples["validation"],
        epochs=epochs,
        batch_size=batch_size,
        verbose=0,
        callbacks=callbacks,
    )
    found = {"epochs": figures.epochs, "minutes": (time.monotonic() - begun) / 60}
    return {**found, "best_epoch": kept.epoch} if kept else found
