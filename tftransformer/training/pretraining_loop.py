"""The loop of pretraining: against the clock or a number of steps, shown while it runs, resumed exactly.

Written out instead of `fit` because it stops, and lets the rate decay, by time.
"""

import dataclasses
import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from tftransformer import files
from tftransformer.data.shard_batches import Position, ShardBatches
from tftransformer.errors import TransformerError
from tftransformer.progress import Progress
from tftransformer.training.prefetching import Prefetched
from tftransformer.training.pretraining import Pretrainer
from tftransformer.training.pretraining_log import PretrainingLog
from tftransformer.training.pretraining_plan import Schedule

LINE_SECONDS = 30.0
# How much of what was measured up to a step still counts at the next one, in losses and speed.
FADE = 0.98
COLUMNS = ("step", "tokens", "seconds", "tokens_per_second", "learning_rate", "loss", "masked_lm", "inner", "word",
           "sentence", "heldout_loss", "heldout_masked_lm", "heldout_perplexity", "heldout_inner", "heldout_word",
           "heldout_sentence")  # fmt: skip
CHECKPOINT, LOG = "checkpoint.npz", "log.csv"


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
        # Tokens and seconds of the last steps, older ones fading; the first step, which is compiled, is left out.
        self._recent: tuple[float, float] | None = None

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
            stream = Prefetched(self.batches.stream(self.position))
            try:
                while (done := schedule.done(int(self.figures["step"]), self.figures["seconds"])) < 1.0:
                    begun = time.monotonic()
                    batch, position = next(stream)
                    self._step(batch, schedule, done)
                    self.position = position
                    now = time.monotonic()
                    self._count_speed(int(np.sum(batch["padding_mask"])), now - begun)
                    self.figures["seconds"] = before + now - started
                    bar.update(note=self._note(schedule))
                    if now - last_heldout > 60.0 * schedule.heldout_minutes:
                        self._evaluate(log)
                        last_heldout = last_line = time.monotonic()
                    elif now - last_line > LINE_SECONDS:
                        self._log(log)
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
        keep = min(FADE, 1.0 - 1.0 / (step + 1))
        for name, value in terms.items():
            figures[name] = keep * figures.get(name, value) + (1.0 - keep) * value

    def _evaluate(self, log: PretrainingLog) -> None:
        found = {f"heldout_{name}": value for name, value in self.pretrainer.evaluate(self.heldout).items()}
        if "heldout_masked_lm" in found:
            found["heldout_perplexity"] = math.exp(min(found["heldout_masked_lm"], 50.0))
        self.figures.update(found)
        self._log(log, heldout=True)

    def _log(self, log: PretrainingLog, heldout: bool = False) -> None:
        """Write a row; figures on held-out text stand in the rows of their evaluations alone."""
        row = {n: value for n, value in self.figures.items() if heldout or not n.startswith("heldout")}
        log.write(row | {"tokens_per_second": self._speed})

    def _count_speed(self, tokens: int, seconds: float) -> None:
        before = self._recent
        self._recent = (
            (0.0, 0.0) if before is None else (FADE * before[0] + tokens, FADE * before[1] + seconds)
        )

    @property
    def _speed(self) -> float:
        tokens, seconds = self._recent or (0.0, 0.0)
        return tokens / seconds if seconds else 0.0

    def _note(self, schedule: Schedule) -> str:
        figures = self.figures
        shown = [f"{name} {figures[name]:.3f}" for name in COLUMNS[5:10] if name in figures]
        if "masked_lm" in figures and len(shown) == 2:
            shown = shown[1:]  # the loss is this term
        if "heldout_perplexity" in figures:
            shown.append(f"held-out perplexity {figures['heldout_perplexity']:.1f}")
        elif "heldout_loss" in figures:
            shown.append(f"held-out {figures['heldout_loss']:.3f}")
        speed = self._speed
        note = (
            f"{', '.join(shown)}, {figures['tokens'] / 1e6:.2f} M tokens, {speed:,.0f} tokens/s, "
            f"{100 * speed * self.operations / self.peak:.0f} % of peak"
        )
        if schedule.minutes is None:
            return note  # the progress line itself says how long the steps will take
        return f"{note}, {max(0.0, schedule.minutes - figures['seconds'] / 60.0):.1f} min left"
