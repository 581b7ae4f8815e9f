"""The loop of pretraining: against the clock or a number of steps, shown while it runs, resumed exactly.

Written out instead of `fit` because it stops, and lets the rate decay, by time.
"""

import dataclasses
import math
import queue
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tftransformer import files
from tftransformer.data.shard_batches import Position, ShardBatches
from tftransformer.errors import TransformerError
from tftransformer.progress import Progress
from tftransformer.training.pretraining import Pretrainer
from tftransformer.training.pretraining_log import PretrainingLog

LINE_SECONDS = 30.0
# The last part of a run that the rate never falls below, as a share of the peak.
FINAL_RATE = 0.02
COLUMNS = ("step", "tokens", "seconds", "tokens_per_second", "learning_rate", "loss", "masked_lm", "inner", "word",
           "sentence", "heldout_loss", "heldout_masked_lm", "heldout_perplexity", "heldout_inner", "heldout_word",
           "heldout_sentence")  # fmt: skip
CHECKPOINT, LOG = "checkpoint.npz", "log.csv"


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
        if not (self.steps if self.minutes is None else self.minutes) > 0:
            raise TransformerError(f"minutes and steps must be above 0; got {self.minutes or self.steps}")
        if self.warmup < 0:
            raise TransformerError(f"warmup must be at least 0; got {self.warmup}")

    def done(self, step: int, seconds: float) -> float:
        """The share of the run that is over."""
        return step / self.steps if self.steps else seconds / (60.0 * self.minutes)

    def rate(self, step: int, done: float) -> float:
        """The learning rate as a share of its peak: up linearly, then down linearly."""
        warm = min(1.0, (step + 1) / self.warmup) if self.warmup else 1.0
        return warm * max(FINAL_RATE, 1.0 - done)


class PretrainingLoop:
    """Trains a `Pretrainer` on batches, with a folder for its checkpoint and log.

    Args:
        pretrainer: What to train.
        batches: Its batches.
        heldout: Batches to evaluate on.
        folder: For `checkpoint.npz` and `log.csv`.
        identity: What a checkpoint must have been made with to go on from it.
        operations: Of a training step, a token; with `peak` it gives the share of the machine in use.
        peak: Operations a second of the machine's matrix product.
    """

    def __init__(
        self,
        pretrainer: Pretrainer,
        batches: ShardBatches,
        heldout: Sequence[Mapping[str, np.ndarray]],
        folder: Path,
        identity: Mapping[str, str],
        *,
        operations: float = 0.0,
        peak: float = math.inf,
    ) -> None:
        self.pretrainer, self.batches, self.heldout = pretrainer, batches, heldout
        self.folder, self.identity = Path(folder), dict(identity)
        self.operations, self.peak = operations, peak
        self.position = Position()
        self.figures: dict[str, float] = {"step": 0, "tokens": 0, "seconds": 0.0}

    def train(
        self, schedule: Schedule, snapshot: Callable[[Mapping[str, float]], None] = lambda figures: None
    ) -> dict[str, float]:
        """Train until the time is up or the steps are done.

        Args:
            schedule: How long.
            snapshot: Called now and then, and at the end, with the figures so far. An interrupted run leaves
                a checkpoint first.

        Returns:
            The last figures: `step`, `tokens`, `seconds`, `loss` and its terms (means over the last steps), and
            those on held-out text.

        Raises:
            TransformerError: A loss that is not finite, or the disk refuses.
        """
        log = PretrainingLog(self.folder / LOG, COLUMNS, int(self.figures["step"]))
        before = self.figures["seconds"]
        started = last_line = last_snapshot = last_heldout = time.monotonic()
        if not self.figures["step"]:
            self._evaluate(log)
        with Progress(schedule.steps, "pretraining", line_seconds=LINE_SECONDS) as bar:
            bar.done = int(self.figures["step"])
            stream = prefetched(self.batches.stream(self.position))
            try:
                while (done := schedule.done(int(self.figures["step"]), self.figures["seconds"])) < 1.0:
                    batch, position = next(stream)
                    self._step(batch, schedule, done)
                    self.position = position
                    now = time.monotonic()
                    self.figures["seconds"] = before + now - started
                    bar.update(note=self._note(schedule))
                    if now - last_heldout > 60.0 * schedule.heldout_minutes:
                        self._evaluate(log)
                        last_heldout = last_line = time.monotonic()
                    elif now - last_line > LINE_SECONDS:
                        log.write(self.figures | self._speed())
                        last_line = now
                    if now - last_snapshot > 60.0 * schedule.snapshot_minutes:
                        self.save()
                        snapshot(self.figures)
                        last_snapshot = time.monotonic()
            except KeyboardInterrupt:
                self.save()
                raise
            finally:
                stream.close()
        self._evaluate(log)
        self.save()
        snapshot(self.figures)
        return dict(self.figures)

    def save(self) -> None:
        """Write the checkpoint; it replaces the last one when it is whole."""
        entries = {
            **self.pretrainer.get_state(),
            "position": np.array(dataclasses.astuple(self.position), "int64"),
            **{f"figure/{name}": np.float64(value) for name, value in self.figures.items()},
            **{f"identity/{name}": np.array(value) for name, value in self.identity.items()},
        }
        with files.atomic_file(self.folder / CHECKPOINT) as path, open(path, "wb") as file:
            np.savez(file, **entries)

    def restore(self) -> int:
        """Go on from the checkpoint in the folder; returns its step.

        Raises:
            TransformerError: There is none, it is damaged, or it was made with other data or settings.
        """
        path = self.folder / CHECKPOINT
        if not path.is_file():
            raise TransformerError(f"there is nothing to resume: {path} does not exist")
        try:
            with np.load(path, allow_pickle=False) as file:
                entries = {name: file[name] for name in file.files}
            position = Position(*entries.pop("position").tolist())
        except Exception as error:  # zipfile, zlib and NumPy raise their own
            raise TransformerError(
                f"the checkpoint {path} is damaged ({' '.join(str(error).split())})"
            ) from None
        groups: dict[str, dict[str, np.ndarray]] = {"figure": {}, "identity": {}, "": {}}
        for name, value in entries.items():
            group, _, rest = name.partition("/")
            groups[group if group in groups else ""][rest if group in groups else name] = value
        for name, value in self.identity.items():
            stored = str(groups["identity"].get(name, ""))
            if stored != value:
                raise TransformerError(f"the run to resume had {name}={stored}; now it is {value}")
        self.pretrainer.set_state(groups[""])
        self.position = position
        self.figures = {name: float(value) for name, value in groups["figure"].items()}
        return int(self.figures["step"])

    def _step(self, batch: Mapping[str, np.ndarray], schedule: Schedule, done: float) -> None:
        step = int(self.figures["step"])
        rate = self.pretrainer.learning_rate * schedule.rate(step, done)
        terms = self.pretrainer.step(batch, rate)
        if not np.isfinite(terms["loss"]):
            raise TransformerError(
                f"the loss is {terms['loss']} at step {step + 1}; lower learning_rate, or warm up for longer"
            )
        figures = self.figures
        figures["step"], figures["learning_rate"] = step + 1, rate
        figures["tokens"] += int(np.sum(batch["padding_mask"]))
        keep = min(0.98, 1.0 - 1.0 / (step + 1))
        for name, value in terms.items():
            figures[name] = keep * figures.get(name, value) + (1.0 - keep) * value

    def _evaluate(self, log: PretrainingLog) -> None:
        found = {f"heldout_{name}": value for name, value in self.pretrainer.evaluate(self.heldout).items()}
        if "heldout_masked_lm" in found:
            found["heldout_perplexity"] = math.exp(min(found["heldout_masked_lm"], 50.0))
        self.figures.update(found)
        log.write(self.figures | self._speed())

    def _speed(self) -> dict[str, float]:
        return {"tokens_per_second": self.figures["tokens"] / max(self.figures["seconds"], 1e-6)}

    def _note(self, schedule: Schedule) -> str:
        figures = self.figures
        shown = [f"{name} {figures[name]:.3f}" for name in COLUMNS[5:10] if name in figures]
        if "masked_lm" in figures and len(shown) == 2:
            shown = shown[1:]  # the loss is this term
        if "heldout_perplexity" in figures:
            shown.append(f"held-out perplexity {figures['heldout_perplexity']:.1f}")
        elif "heldout_loss" in figures:
            shown.append(f"held-out {figures['heldout_loss']:.3f}")
        speed = self._speed()["tokens_per_second"]
        note = (
            f"{', '.join(shown)}, {figures['tokens'] / 1e6:.2f} M tokens, {speed:,.0f} tokens/s, "
            f"{100 * speed * self.operations / self.peak:.0f} % of peak"
        )
        if schedule.minutes is None:
            return note  # the progress line itself says how long the steps will take
        return f"{note}, {max(0.0, schedule.minutes - figures['seconds'] / 60.0):.1f} min left"


class prefetched(Iterator):  # noqa: N801 - used like a function
    """Items of an iterator, made in the background while the last one is worked on.

    Example:
        >>> list(prefetched(iter(range(3))))
        [0, 1, 2]
    """

    def __init__(self, source: Iterator[Any], ahead: int = 4) -> None:
        self._queue: queue.Queue = queue.Queue(ahead)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._fill, args=(source,), daemon=True)
        self._thread.start()

    def _fill(self, source: Iterator[Any]) -> None:
        try:
            for item in source:
                if not self._put((item, None)):
                    return
            self._put((None, StopIteration()))
        except Exception as error:  # raised again where the items are used
            self._put((None, error))

    def _put(self, entry: tuple[Any, BaseException | None]) -> bool:
        while not self._stopped.is_set():
            try:
                self._queue.put(entry, timeout=0.2)
                return True
            except queue.Full:
                continue
        return False

    def __next__(self) -> Any:
        item, error = self._queue.get()
        if error is not None:
            raise error
        return item

    def close(self) -> None:
        """Stop making items."""
        self._stopped.set()
        self._thread.join()
