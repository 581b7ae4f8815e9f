"""The turns of every fine-tuning worker, whatever the library: what is timed, what it computes, and what is checked."""

import dataclasses
import json
import math
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from sidebyside.worker import Job, seconds_since_start

_CHECKED = 16  # rows whose loss is compared across contenders


class Clock:
    """Counts seconds of training, step by step and epoch by epoch, with evaluations taken out.

    Args:
        every: Evaluate after each so many steps; 0 never.
        evaluate: Returns an accuracy.
        target: The accuracy at which the run may stop.
    """

    def __init__(self, every: int = 0, evaluate: Callable[[], float] | None = None, target: float = 1.0) -> None:
        self.steps = 0
        self.epochs: list[float] = []
        self.curve: list[tuple[int, float, float]] = []
        # Seconds from the start of the process to the end of the first step.
        self.first_step: float | None = None
        self._every, self._evaluate, self._target = every, evaluate, target
        self._paused = 0.0
        self._start = time.perf_counter()
        self._processor = time.process_time()

    @property
    def seconds(self) -> float:
        """Seconds since the start, evaluations excluded."""
        return time.perf_counter() - self._start - self._paused

    @property
    def processor_seconds(self) -> float:
        """Seconds of all cores together since the start, evaluations included; waiting for a core does not count."""
        return time.process_time() - self._processor

    @property
    def reached(self) -> float | None:
        """Seconds until the target was first reached; None if it was not."""
        return next((seconds for _, seconds, accuracy in self.curve if accuracy >= self._target), None)

    def step(self) -> bool:
        """Note the end of a step; return True where the run may stop."""
        self.first_step = self.first_step or seconds_since_start()
        self.steps += 1
        if not self._every or self.steps % self._every:
            return False
        trained = self.seconds
        begin = time.perf_counter()
        accuracy = self._evaluate()
        self.curve.append((self.steps, trained, accuracy))
        self._paused += time.perf_counter() - begin
        return accuracy >= self._target

    def epoch(self) -> None:
        """Note the end of an epoch."""
        self.epochs.append(self.seconds - sum(self.epochs))


@dataclasses.dataclass(frozen=True)
class TokenCount:
    """Tokens of an epoch with and without padding, and the sums of squared lengths that attention costs."""

    rows: int
    real: int
    computed: int
    real_squares: int
    computed_squares: int

    @classmethod
    def of(cls, batches: Iterable[tuple[Sequence[int], int]]) -> "TokenCount":
        """Count batches of (lengths of the rows, padded length).

        Example:
            >>> TokenCount.of([([3, 5], 5)]).padding
            0.2
        """
        rows = real = computed = real_squares = computed_squares = 0
        for lengths, padded in batches:
            rows += len(lengths)
            real += sum(int(n) for n in lengths)
            real_squares += sum(int(n) ** 2 for n in lengths)
            computed += len(lengths) * padded
            computed_squares += len(lengths) * padded**2
        return cls(rows, real, computed, real_squares, computed_squares)

    @property
    def padding(self) -> float:
        """Padded tokens over computed tokens."""
        return 1 - self.real / self.computed


def training_flops(tokens: int, squares: int, layers: int, width: int, inner: int, frozen: int = 0) -> float:
    """Count the operations of the matrix products in a training step, the model's own and nothing recomputed.

    A block has P = 4 D^2 + 2 D F parameters in products: 2 P operations a token forward, and 2 P each for the gradients of weights
    and inputs. Attention adds 4 T^2 D a row forward (scores and weighted sum) and twice that backward. A block that trains costs
    6 P tokens + 12 D squares, a frozen one a third of it; embeddings, pooler and head are left out.

    Args:
        tokens: Tokens over all rows.
        squares: Sum of T^2 over all rows.
        layers, width, inner: L, D and F.
        frozen: Blocks at the bottom without a gradient.

    Example:
        >>> training_flops(tokens=1, squares=0, layers=1, width=1, inner=4)
        72.0
    """
    forward = 2.0 * (4 * width**2 + 2 * width * inner) * tokens + 4.0 * width * squares
    return forward * (frozen + 3 * (layers - frozen))


class Trainer(Protocol):
    """One library with a model built and compiled, ready to be trained.

    `settings` that all understand: `folder` (weights), `batch_size`, `length` (longest sequence), `precision` ("float32" or
    "bfloat16"), `freeze` (blocks, with the embeddings), `learning_rate`.
    """

    def fit(self, texts: list[str], labels: list[int], epochs: int, clock: Clock) -> None:
        """Train from texts, calling the clock after each step and epoch; stop when a step says so."""

    def logits(self, texts: list[str]) -> Any:
        """(B, C) in inference mode, as fast as it goes: never timed."""

    def tokens(self, texts: list[str]) -> TokenCount:
        """Count what one epoch over the texts computes."""

    def dropout(self) -> float:
        """The rate inside the encoder."""

    def remember(self) -> None:
        """Keep a copy of the weights and of the optimizer's state."""

    def restore(self) -> None:
        """Return to that copy, without compiling anew."""


def finetuning(build: Callable[[dict[str, Any]], Trainer]) -> Job:
    """Return the job that trains in rounds what `build` makes of the settings."""
    return lambda settings: _prepare(build, settings), _turn


@dataclasses.dataclass
class _State:
    trainer: Trainer
    settings: dict[str, Any]
    train: dict[str, Any]
    dev: dict[str, Any] | None


def _prepare(build: Any, settings: dict[str, Any]) -> tuple[_State, dict[str, Any]]:
    trainer = build(settings)
    train, dev = (json.loads(Path(settings[n]).read_text("utf-8")) if n in settings else None for n in ("train", "dev"))
    trainer.remember()
    clock = Clock()
    rows = settings["warm_up_rows"]
    trainer.fit(train["texts"][-rows:], train["labels"][-rows:], settings["warm_up_epochs"], clock)
    trainer.restore()
    figures = {
        "seconds_to_first_step": clock.first_step,
        "loss_before": _loss(trainer.logits(train["texts"][:_CHECKED]), train["labels"][:_CHECKED]),
        "dropout": trainer.dropout(),
        "batch_size": settings["batch_size"],
    }
    return _State(trainer, settings, train, dev), figures


def _turn(state: _State, number: int) -> dict[str, Any]:
    state.trainer.restore()
    settings = state.settings
    texts, labels = _slice(state, number)
    if state.dev is not None:
        # The same order for all contenders, another one in each round.
        order = np.random.default_rng(number).permutation(len(texts))
        return _to_accuracy(state, [texts[i] for i in order], [labels[i] for i in order])
    clock = Clock()
    state.trainer.fit(texts, labels, settings["epochs"], clock)
    seconds, processor = clock.seconds, clock.processor_seconds
    count = state.trainer.tokens(texts)
    real, computed = (flops * settings["epochs"] / seconds / 1e9 for flops in _operations(settings, count))
    later = clock.epochs[1:]
    return {
        "seconds": seconds,
        "processor_ms": processor * 1000 / (len(texts) * settings["epochs"]),
        "steps": clock.steps,
        "rows": len(texts),
        "examples_per_second": len(texts) * settings["epochs"] / seconds,
        "first_epoch_seconds": clock.epochs[0],
        **({"later_epoch_seconds": sum(later) / len(later)} if later else {}),
        **dataclasses.asdict(count),
        "padding": count.padding,
        "real_gflops": real,
        "computed_gflops": computed,
    }


def _to_accuracy(state: _State, texts: list[str], labels: list[int]) -> dict[str, Any]:
    dev, settings = state.dev, state.settings

    def accuracy() -> float:
        predicted = state.trainer.logits(dev["texts"]).argmax(axis=-1)
        return float((predicted == np.asarray(dev["labels"])).mean())

    clock = Clock(settings["evaluate_every"], accuracy, settings["target"])
    state.trainer.fit(texts, labels, settings["epochs"], clock)
    return {
        "seconds_to_accuracy": clock.reached,
        "reached": 0 if clock.reached is None else 1,
        "steps": clock.steps,
        "best_accuracy": max((score for _, _, score in clock.curve), default=None),
        "examples_per_second": clock.steps * settings["batch_size"] / clock.seconds,
        "padding": state.trainer.tokens(texts).padding,
        "curve": clock.curve,
    }


def _slice(state: _State, number: int) -> tuple[list[str], list[int]]:
    # Each round has rows of its own: what a contender keeps of earlier ones is of no use to it.
    texts, labels, rows = state.train["texts"], state.train["labels"], state.settings["rows"]
    start = number * rows % max(1, len(texts) - rows + 1)
    return texts[start : start + rows], labels[start : start + rows]


def _operations(settings: dict[str, Any], count: TokenCount) -> tuple[float, float]:
    config = json.loads((Path(settings["folder"]) / "config.json").read_text("utf-8"))
    sizes = (config["num_hidden_layers"], config["hidden_size"], config["intermediate_size"], settings["freeze"])
    return (
        training_flops(count.real, count.real_squares, *sizes),
        training_flops(count.computed, count.computed_squares, *sizes),
    )


def _loss(logits: Any, labels: list[int]) -> float:
    total = 0.0
    for row, label in zip(logits.tolist(), labels, strict=True):
        top = max(row)
        total += top + math.log(sum(math.exp(value - top) for value in row)) - row[label]
    return total / len(labels)
