"""The turns of every fine-tuning worker, whatever the library: what is timed, and what is checked."""

import dataclasses
import json
import math
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from sidebyside.clock import Clock
from sidebyside.token_count import TokenCount, training_flops
from sidebyside.worker import seconds_since_start, serve

_CHECKED = 16  # rows whose loss is compared across contenders


class Trainer(Protocol):
    """One library with a model built and compiled, ready to be trained.

    `settings` that all understand: `folder` (weights), `batch_size`, `length` (longest sequence),
    `precision` ("float32" or "bfloat16"), `freeze` (blocks, with the embeddings), `learning_rate`.
    """

    def fit(self, texts: list[str], labels: list[int], epochs: int, clock: Clock) -> None:
        """Train from texts, calling the clock after each step and epoch; stop when a step says so."""

    def logits(self, texts: list[str]) -> Any:
        """(B, C) in inference mode, as fast as it goes: never timed."""

    def tokens(self, texts: list[str]) -> TokenCount:
        """What one epoch over the texts computes."""

    def dropout(self) -> float:
        """The rate inside the encoder."""

    def remember(self) -> None:
        """Keep a copy of the weights and of the optimizer's state."""

    def restore(self) -> None:
        """Return to that copy, without compiling anew."""


def serve_finetuning(build: Any) -> None:
    """Answer rounds of fine-tuning with `build(settings)`, a `Trainer`.

    Example:
        >>> if __name__ == "__main__":  # doctest: +SKIP
        ...     serve_finetuning(OursTrainer)
    """
    serve(lambda settings: _prepare(build, settings), _turn)


class _State:
    def __init__(self, trainer: Trainer, settings: dict[str, Any]) -> None:
        self.trainer, self.settings = trainer, settings
        self.train = _read(settings["train"])
        self.dev = _read(settings["dev"]) if "dev" in settings else None


class _FirstStep(Clock):
    """A clock that notes when the first step of the process ended."""

    at: float | None = None

    def step(self) -> bool:
        self.at = self.at or seconds_since_start()
        return super().step()


def _prepare(build: Any, settings: dict[str, Any]) -> tuple[_State, dict[str, Any]]:
    trainer = build(settings)
    state = _State(trainer, settings)
    trainer.remember()
    first = _FirstStep()
    rows = settings["warm_up_rows"]
    trainer.fit(state.train["texts"][-rows:], state.train["labels"][-rows:], settings["warm_up_epochs"], first)
    trainer.restore()
    checked = state.train["texts"][:_CHECKED], state.train["labels"][:_CHECKED]
    figures = {
        "seconds_to_first_step": first.at,
        "loss_before": _loss(trainer.logits(checked[0]), checked[1]),
        "dropout": trainer.dropout(),
        "batch_size": settings["batch_size"],
    }
    return state, figures


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


def _read(path: str) -> dict[str, Any]:
    return json.loads(Path(path).read_text("utf-8"))
