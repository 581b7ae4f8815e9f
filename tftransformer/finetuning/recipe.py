"""The recipe: how a model is fine-tuned where nobody says, chosen from what is known before training.

Each rule has the measurement that earned it; `benchmarks/defaults.py` makes them anew. Rules were made on one half of its
data sets and are judged on the other.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

from tftransformer.finetuning.methods.base import LEARNING_RATE, Method
from tftransformer.finetuning.strategy import parse_strategy

# What encoders below this width learn at.
NARROW_LEARNING_RATE = 1e-4
NARROW = 512
# Rows of a training batch wherever nothing is said; and of one whose size changes nothing but the time it takes.
BATCH_SIZE, INFERENCE_BATCH_SIZE = 16, 64
EPOCHS = 3
# Fewer than these leave a classifier near its start, however often it has seen its few rows.
UPDATES = 250
# From and up to so many rows a class the encoder learns which texts belong together, and the head is solved for.
PAIRED_ROWS, FEW_ROWS = 4, 32
PAIR_UPDATES = 150
# What validation may cost, as a fraction of what training does; and a row of it, as a fraction of a training row.
_VALIDATION, _FORWARD = 0.25, 1 / 3
# Validations of a run that can afford them, and the fewest rows that are worth one.
_VALIDATIONS, _LEAST_ROWS = 10, 100


@dataclasses.dataclass(frozen=True)
class Recipe:
    """Settings by which one run is trained; `print` it.

    Attributes:
        rows: Training rows an epoch, changed copies included.
        hidden_dim: Width of the encoder.
        strategy: Methods as `parse_strategy` reads them, with `start` among them.
        start: The method that sets the head before the first update; None: it starts as it is.
        learning_rate: The highest rate; None: that of an optimizer which states no number.
        epochs: Number of epochs; 0 if only `start` is run.
        updates_an_epoch: Number of updates of each.
        batch_size: Rows a batch.
        kept: Names of the settings that were given, and stay as they are.

    Example:
        >>> print(choose_recipe(1000, 384, 2, {}, fresh_head=True))
        1,000 rows, 2 labels, 384 wide: head_start, rate 1e-4, 4 epochs of 63 updates, 16 rows a batch
        >>> print(choose_recipe(16, 384, 2, {}, fresh_head=True))
        16 rows, 2 labels, 384 wide: contrastive:150
    """

    rows: int
    hidden_dim: int
    classes: int
    strategy: str
    start: str | None
    learning_rate: float | None
    epochs: int
    updates_an_epoch: int
    batch_size: int
    kept: tuple[str, ...] = ()

    def __str__(self) -> str:
        labels = f", {_counted(self.classes, 'label')}" if self.classes else ""
        case = f"{_counted(self.rows, 'row')}{labels}, {self.hidden_dim} wide: {self.strategy}"
        batch = f", {_counted(self.batch_size, 'row')} a batch"
        if not self.epochs:
            return f"{case}{batch if self.batch_size != BATCH_SIZE else ''}"
        rate = "as compiled" if self.learning_rate is None else _short(self.learning_rate)
        epochs = f"{_counted(self.epochs, 'epoch')} of {_counted(self.updates_an_epoch, 'update')}"
        kept = f"; as given: {', '.join(self.kept)}" if self.kept else ""
        return f"{case}, rate {rate}, {epochs}{batch}{kept}"

    @property
    def updates(self) -> int:
        """Number of updates of the run."""
        return self.epochs * self.updates_an_epoch

    def start_method(self) -> Method | None:
        """The method that `start` names, with the batches of this recipe."""
        if self.start is None:
            return None
        (method,) = parse_strategy(self.start).methods
        return dataclasses.replace(method, batch_size=self.batch_size) if hasattr(method, "batch_size") else method


def _counted(count: int, what: str) -> str:
    return f"{count:,} {what}{'s' * (count != 1)}"


def _short(rate: float) -> str:
    mantissa, exponent = f"{rate:.1e}".split("e")
    return f"{mantissa.removesuffix('.0')}e{int(exponent)}"


def choose_recipe(
    rows: int,
    hidden_dim: int,
    classes: int,
    hparams: Mapping[str, Any],
    *,
    fresh_head: bool = False,
    pairs: bool = False,
    contrasts: bool = True,
    strategy: str = "full",
    learning_rate: float | None = None,
    epochs: int | None = None,
    batch_size: int | None = None,
    accumulated: int = 1,
    least_updates: int = UPDATES,
    kept: Sequence[str] = (),
) -> Recipe:
    """The recipe for a case; what is given takes the place of its part.

    Args:
        rows: Training rows an epoch, changed copies included.
        hidden_dim: Width of the encoder.
        classes: C; 0 for a task without labels.
        hparams: The preset's recommended hyperparameters: any of `learning_rate`, `frozen_learning_rate` and `epochs`.
        fresh_head: Whether a linear head is all that starts from random numbers (`methods.probe.can_start`).
        pairs: Whether the rows are pairs of texts, of which encoders of single texts have no good vectors: a head that is solved
            for on these is worse than a random one.
        contrasts: Whether contrastive fine-tuning is for the task; not for documents in chunks.
        strategy: Methods that were chosen already.
        learning_rate, epochs, batch_size: As of `Recipe`.
        accumulated: Number of batches in an update.
        least_updates: As for `default_epochs`.
        kept: Names of what was given and decides how updates are made. Contrastive fine-tuning, whose updates are its own, would
            leave it unused, and is not chosen then.
    """
    batch_size = BATCH_SIZE if batch_size is None else batch_size
    batches = math.ceil(rows / batch_size)
    fresh_head = fresh_head and not pairs
    start = "head_start" if fresh_head else None
    if fresh_head and epochs is None and contrasts and not kept and PAIRED_ROWS <= rows / classes <= FEW_ROWS:
        start, epochs = f"contrastive:{PAIR_UPDATES}", 0
    if start is not None:
        strategy = start if strategy == "full" else f"{start}+{strategy}"
    if learning_rate is None:
        learning_rate = parse_strategy(strategy).learning_rate(complete_hparams(hparams, hidden_dim))
    if epochs is None:
        epochs = default_epochs(hparams, batches, accumulated, least_updates)
    updates = math.ceil(batches / accumulated)
    return Recipe(rows, hidden_dim, classes, strategy, start, learning_rate, epochs, updates, batch_size, tuple(kept))


def complete_hparams(hparams: Mapping[str, Any], hidden_dim: int) -> dict[str, Any]:
    """A preset's recommended hyperparameters, with the default learning rate where it has none.

    Args:
        hparams: A preset's recommended hyperparameters: any of `learning_rate`, `frozen_learning_rate` and `epochs`.
        hidden_dim: Width of the encoder.

    Example:
        >>> complete_hparams({}, 384), complete_hparams({"learning_rate": 7e-5}, 192)
        ({'learning_rate': 0.0001}, {'learning_rate': 7e-05})
    """
    return {"learning_rate": NARROW_LEARNING_RATE if hidden_dim < NARROW else LEARNING_RATE, **hparams}


def default_epochs(hparams: Mapping[str, Any], batches: int, accumulated: int = 1, least_updates: int = UPDATES) -> int:
    """The default number of epochs: the advised one, or more where that makes too few updates.

    Args:
        hparams: A preset's recommended hyperparameters: `epochs`; 3 by default.
        batches: Number of batches in an epoch.
        accumulated: Number of batches in an update.
        least_updates: Number of updates that few rows need, too; 250 by default.

    Returns:
        Number of epochs, with so many updates at least.

    Example:
        >>> default_epochs({}, batches=13), default_epochs({"epochs": 8}, batches=400)
        (20, 8)
    """
    updates = math.ceil(batches / accumulated)
    return max(hparams.get("epochs", EPOCHS), math.ceil(least_updates / updates))


@dataclasses.dataclass(frozen=True)
class ValidationPlan:
    """Epochs and rows on which a run validates.

    Attributes:
        epochs: Numbers of the epochs, from 1, after which it does; the last one is among them.
        rows: Number of validation rows that it uses each time.
    """

    epochs: list[int]
    rows: int


def plan_validation(rows: int, epochs: int, validation_rows: int, every_epoch: bool = False) -> ValidationPlan:
    """Validation that costs a quarter of the training at most: after fewer epochs, and on a part of the rows.

    Args:
        rows: Training rows an epoch.
        epochs: Number of epochs.
        validation_rows: Number of validation rows.
        every_epoch: Whether something, such as early stopping, has to know the figures of each.

    Returns:
        At most ten validations, or one an epoch; each of 100 rows at least where there are so many, even where these cost more.

    Example:
        >>> plan_validation(50, 60, 800)
        ValidationPlan(epochs=[6, 12, 18, 24, 30, 36, 42, 48, 54, 60], rows=225)
        >>> plan_validation(10_000, 3, 800)
        ValidationPlan(epochs=[1, 2, 3], rows=800)
    """
    affordable = _VALIDATION * rows * epochs / _FORWARD
    count = epochs if every_epoch else min(epochs, _VALIDATIONS)
    least = min(validation_rows, _LEAST_ROWS)
    if not every_epoch:
        count = max(1, min(count, int(affordable / max(least, 1))))
    size = min(validation_rows, max(least, int(affordable / count)))
    return ValidationPlan([math.ceil(epochs * (i + 1) / count) for i in range(count)], size)
