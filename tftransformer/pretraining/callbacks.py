"""Callbacks for runs of hours: a length in steps or minutes, evaluation by the clock, a log, exact checkpoints."""

import csv
import dataclasses
import math
import os
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import ops

from tftransformer import files
from tftransformer.config import TransformerConfig
from tftransformer.data.shard_batches import Position
from tftransformer.errors import TransformerError
from tftransformer.finetuning.arguments import check_run_length
from tftransformer.finetuning.schedules import Schedule
from tftransformer.models.walk import stack_of
from tftransformer.pretraining.batches import TrainingBatches
from tftransformer.progress import Progress

MEASURED_SECONDS = 0.5
LINE_SECONDS = 30.0
# How much of the speed up to a step still counts at the next one.
FADE = 0.98
# Number of epochs and of steps for `fit` where the clock ends the run.
ENDLESS = sys.maxsize
COLUMNS = ("step", "tokens", "seconds", "tokens_per_second", "learning_rate", "loss", "masked_lm", "inner", "word",
           "sentence", "heldout_loss", "heldout_masked_lm", "heldout_perplexity", "heldout_inner", "heldout_word",
           "heldout_sentence")  # fmt: skip


class RunLength(keras.callbacks.Callback):
    """Ends `fit` after some steps or minutes, sets the learning rate on the way, and counts. First in the list.

    Every few minutes it ends an epoch of `fit`, so that Keras evaluates on `validation_data`: give `fit` the
    arguments `epochs=ENDLESS, steps_per_epoch=ENDLESS`.

    Args:
        batches: Batches that `fit` trains on.
        schedule: The learning rate. By the clock it is told the length in steps that the pace so far foresees.
        steps: Steps of the whole run, those before it was resumed included.
        minutes: Minutes that the whole run may take, instead of `steps`.
        heldout_minutes: Minutes between two evaluations.

    Attributes:
        figures: `step`, `tokens`, `seconds`, `tokens_per_second`, `learning_rate`, the loss and its terms, and
            with `heldout_` before their names those of the last evaluation.

    Raises:
        TransformerError: Neither or both of `steps` and `minutes`, or not above 0; from `fit`: a loss that is not finite.
    """

    def __init__(
        self,
        batches: TrainingBatches,
        schedule: Schedule,
        steps: int | None = None,
        minutes: float | None = None,
        heldout_minutes: float = math.inf,
    ) -> None:
        super().__init__()
        check_run_length(steps, minutes)
        self.batches, self.schedule, self.steps, self.minutes = batches, schedule, steps, minutes
        self.heldout_minutes = heldout_minutes
        self.figures: dict[str, float] = {"step": 0, "tokens": 0, "seconds": 0.0, "tokens_per_second": 0.0}
        # Tokens and seconds of the last steps, older ones fading; the first step, which is compiled, is left out.
        self._recent: np.ndarray | None = None

    @property
    def done(self) -> float:
        """The fraction of the run that is over."""
        if self.minutes is None:
            return self.figures["step"] / self.steps
        return self.figures["seconds"] / (60.0 * self.minutes)

    def on_train_begin(self, logs: Mapping[str, Any] | None = None) -> None:
        self._started = time.monotonic() - self.figures["seconds"]

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        self._evaluated = time.monotonic()

    def on_train_batch_begin(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        step, done = self.figures["step"], self.done
        length = self.steps or (step / done if done else ENDLESS)
        self.figures["learning_rate"] = float(self.schedule.rate(step, length))
        synchronize(self.model)
        self.model.optimizer.learning_rate = self.figures["learning_rate"]
        self._begun = time.monotonic()

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        now, before = time.monotonic(), self.figures["tokens"]
        self.count_steps()
        self.figures.update(logs, seconds=now - self._started)
        if not math.isfinite(logs["loss"]):
            raise TransformerError(
                f"the loss is {logs['loss']} at step {self.figures['step']}; lower learning_rate, or warm up for longer"
            )
        if self._recent is None:
            self._recent = np.zeros(2)
        else:
            self._recent = FADE * self._recent + (self.figures["tokens"] - before, now - self._begun)
            self.figures["tokens_per_second"] = self._recent[0] / self._recent[1]
        self.model.stop_training = self.done >= 1.0 or now - self._evaluated > 60.0 * self.heldout_minutes

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        self.add_heldout({name[4:]: value for name, value in logs.items() if name.startswith("val_")})
        self.model.stop_training = self.done >= 1.0

    def count_steps(self, steps: int = 1) -> None:
        """Count so many more steps."""
        self.batches.advance(steps)
        self.figures["step"] += steps
        self.figures["tokens"] = self.batches.tokens

    def add_heldout(self, logs: Mapping[str, float]) -> None:
        """Add the logs of `evaluate` to the figures."""
        self.figures.update({f"heldout_{name}": float(value) for name, value in logs.items()})
        if "heldout_masked_lm" in self.figures:
            self.figures["heldout_perplexity"] = math.exp(min(self.figures["heldout_masked_lm"], 50.0))


def synchronize(model: keras.Model) -> None:
    """Give variables their values in the middle of `fit`, which on JAX keeps them elsewhere."""
    if hasattr(model, "jax_state_sync"):
        model.jax_state_sync()


class CSVLog(keras.callbacks.Callback):
    """Writes `figures` to a CSV: a row now and then, and one for each evaluation, which alone has `heldout_` figures.

    Args:
        path: Path of the file.
        run: The callback that counts steps.
        step: Rows of an existing file beyond this step are dropped; 0 starts anew.
    """

    def __init__(self, path: str | os.PathLike, run: RunLength, step: int = 0) -> None:
        super().__init__()
        self.path, self.run, self._written = Path(path), run, time.monotonic()
        rows = [row for row in read_log(path) if row["step"] <= step] if step and self.path.exists() else []
        files.write_text(self.path, ",".join(COLUMNS) + "\n")
        for row in rows:
            self._append(row)

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        if time.monotonic() - self._written > LINE_SECONDS and not self.model.stop_training:
            self._append({k: v for k, v in self.run.figures.items() if not k.startswith("heldout_")})

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        self._append(self.run.figures)

    def on_train_begin(self, logs: Mapping[str, Any] | None = None) -> None:
        if not self.run.figures["step"]:
            self._append(self.run.figures)

    def _append(self, figures: Mapping[str, float]) -> None:
        self._written = time.monotonic()
        row = [f"{figures[name]:.7g}" if name in figures else "" for name in COLUMNS]
        with files.disk_errors(self.path), self.path.open("a", newline="", encoding="utf-8") as file:
            csv.writer(file, lineterminator="\n").writerow(row)


def read_log(path: str | os.PathLike) -> list[dict[str, float]]:
    """The rows of a log, without their empty cells."""
    with open(path, newline="", encoding="utf-8") as file:
        return [{name: float(cell) for name, cell in row.items() if cell} for row in csv.DictReader(file)]


class Checkpoint(keras.callbacks.Callback):
    """Saves everything that a run needs to be resumed exactly. Last in the list.

    Keras's `BackupAndRestore` forgets the place in the data, and what was measured before the run.

    Args:
        path: The `.npz` file; a new one replaces it when it is whole.
        run: The callback that counts steps.
        identity: Settings that a checkpoint must have been made with to go on from it.
        minutes: Minutes between two checkpoints; one more is made at the end.
        snapshot: Called with the figures after each of them.
    """

    def __init__(
        self,
        path: str | os.PathLike,
        run: RunLength,
        identity: Mapping[str, str],
        minutes: float = 10.0,
        snapshot: Callable[[Mapping[str, float]], None] = lambda figures: None,
    ) -> None:
        super().__init__()
        self.path, self.run, self.identity = Path(path), run, dict(identity)
        self.minutes, self.snapshot, self._saved = minutes, snapshot, time.monotonic()

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        if not self.model.stop_training:  # else after the evaluation
            self._save_if_due()

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        self._save_if_due(self.model.stop_training)

    def _save_if_due(self, due: bool = False) -> None:
        if due or time.monotonic() - self._saved > 60.0 * self.minutes:
            self.save()
            self.snapshot(self.run.figures)
            self._saved = time.monotonic()

    def save(self) -> None:
        """Write the checkpoint, after each finished step, also where `fit` was interrupted."""
        synchronize(self.model)
        # An interrupt may come between a step and its being counted.
        self.run.count_steps(int(self.model.optimizer.iterations) - self.run.figures["step"])
        state = {name: ops.convert_to_numpy(variable) for name, variable in self.model.state().items()}
        state["position"] = np.array(dataclasses.astuple(self.run.batches.position), "int64")
        state |= {f"figure/{name}": np.float64(value) for name, value in self.run.figures.items()}
        state |= {f"identity/{name}": np.array(value) for name, value in self.identity.items()}
        with files.atomic_file(self.path) as path, open(path, "wb") as file:
            np.savez(file, **state)

    def restore(self, model: keras.Model) -> int:
        """Go on from the checkpoint; before `fit`. Returns its step.

        Raises:
            TransformerError: There is none, it is damaged, or it was made with other data, settings or sizes.
        """
        if not self.path.is_file():
            raise TransformerError(f"there is nothing to resume: {self.path} does not exist")
        try:
            with np.load(self.path, allow_pickle=False) as file:
                entries = {name: file[name] for name in file.files}
            position = Position(*entries.pop("position").tolist())
        except Exception as error:  # zipfile, zlib and NumPy raise their own
            reason = " ".join(str(error).split())
            raise TransformerError(f"the checkpoint {self.path} is damaged ({reason})") from None
        for name, value in self.identity.items():
            stored = str(entries.get(f"identity/{name}", ""))
            if stored != value:
                raise TransformerError(f"the run to resume had {name}={stored}; now it is {value}")
        wanted = model.state()
        shapes = {name: tuple(variable.shape) for name, variable in wanted.items()}
        kept = {n: a for n, a in entries.items() if not n.startswith(("figure/", "identity/"))}
        if {name: array.shape for name, array in kept.items()} != shapes:
            raise TransformerError("the checkpoint to resume from is of a model with other sizes or objective")
        for name, variable in wanted.items():
            variable.assign(kept[name])
        self.run.figures = {n[7:]: float(a) for n, a in entries.items() if n.startswith("figure/")}
        self.run.figures["step"] = int(self.run.figures["step"])
        self.run.batches.position = position
        self.run.batches.tokens = int(self.run.figures["tokens"])
        return self.run.figures["step"]


class ProgressLine(keras.callbacks.Callback):
    """Shows losses, tokens, speed and the time left while `fit` runs: a bar in a terminal, lines elsewhere.

    Args:
        run: The callback that counts steps.
        operations: Floating-point operations of a training step for one token.
        peak: Floating-point operations a second of the machine's matrix product.
    """

    def __init__(self, run: RunLength, operations: float, peak: float) -> None:
        super().__init__()
        self.run, self.operations, self.peak = run, operations, peak

    def on_train_begin(self, logs: Mapping[str, Any] | None = None) -> None:
        self.bar = Progress(self.run.steps, "pretraining", line_seconds=LINE_SECONDS)
        self.bar.initial = self.bar.n = self.run.figures["step"]

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        self.bar.update(note=self._note())

    def on_train_end(self, logs: Mapping[str, Any] | None = None) -> None:
        self.bar.close()

    def _note(self) -> str:
        figures, minutes = self.run.figures, self.run.minutes
        shown = [f"{name} {figures[name]:.3f}" for name in COLUMNS[5:10] if name in figures]
        if "masked_lm" in figures and len(shown) == 2:
            shown = shown[1:]  # the loss is this term
        if "heldout_perplexity" in figures:
            shown.append(f"held-out perplexity {figures['heldout_perplexity']:.1f}")
        elif "heldout_loss" in figures:
            shown.append(f"held-out {figures['heldout_loss']:.3f}")
        speed = figures["tokens_per_second"]
        shown += [
            f"{figures['tokens'] / 1e6:.2f} M tokens",
            f"{speed:,.0f} tokens/s",
            f"{100 * speed * self.operations / self.peak:.0f} % of peak",
        ]
        if minutes is not None:  # of steps the bar itself says how long they will take
            shown.append(f"{max(0.0, minutes - figures['seconds'] / 60.0):.1f} min left")
        return ", ".join(shown)


# What a machine can do at most in a second, and what a training step asks of it.


def matmul_peak(rows: int, inner: int, columns: int, dtype: str = "float32") -> float:
    """Floating-point operations a second of one large matrix product, the best of several."""
    draw = np.random.default_rng(0)
    left = ops.cast(draw.normal(size=(rows, inner)).astype("float32"), dtype)
    right = ops.cast(draw.normal(size=(inner, columns)).astype("float32"), dtype)

    def product() -> float:
        started = time.perf_counter()
        # Fetching one number waits for the whole product, also where work is handed to a device.
        ops.convert_to_numpy(ops.cast(ops.matmul(left, right)[0, 0], "float32"))
        return time.perf_counter() - started

    product()
    best, ends = product(), time.perf_counter() + MEASURED_SECONDS
    while time.perf_counter() < ends:
        best = min(best, product())
    return 2.0 * rows * inner * columns / best


def forward_operations(encoder: keras.Model, config: TransformerConfig, length: int) -> float:
    """Operations of the matrix products of a forward pass, a token, in rows of `length` tokens."""
    stack = stack_of(encoder, config)
    layers = (stack.embeddings, *stack.blocks)
    kernels = sum(math.prod(v.shape) for layer in layers for v in layer.weights if v.path.endswith("/kernel"))
    heads = sum(config.heads_of_block(config.block_of_layer(layer))[0] for layer in range(config.num_layers))
    return 2.0 * (kernels + 2 * length * heads * config.head_dim)
