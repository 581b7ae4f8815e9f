"""Successive halving of a time (Jamieson & Talwalkar 2016, arXiv:1502.07943): what competes, and how many updates each has."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

from tftransformer.evaluation.reports import text_table
from tftransformer.finetuning.methods.contrastive import Contrastive
from tftransformer.finetuning.recipe import Recipe
from tftransformer.finetuning.strategy import parse_strategy

# Of those that compete a third goes on each time.
HALVING = 3
# Rates that compete, as multiples of the recipe's, in the order in which there is time for them.
RATES = (1.0, 3.0, 1 / 3)


@dataclasses.dataclass(frozen=True)
class Candidate:
    """A way to train that competes.

    Attributes:
        strategy: Methods as `parse_strategy` reads them; `contrastive` without its number. "": the task as it is.
        learning_rate: The highest rate; None where the method has one of its own.
        cost: Cost of an update, as a fraction of that of the cheapest that trains everything.
        once: Seconds in front of the first update, to run what is frozen.
    """

    strategy: str
    learning_rate: float | None
    cost: float = 1.0
    once: float = 0.0

    @property
    def contrastive(self) -> bool:
        """True if its updates are those of `Contrastive`."""
        return self.strategy == Contrastive.name

    def __str__(self) -> str:
        rate = "" if self.learning_rate is None else f", rate {self.learning_rate:.1e}"
        return f"{self.strategy or 'as it is'}{rate}"


@dataclasses.dataclass(frozen=True)
class Trial:
    """One training and what came of it.

    Attributes:
        strategy: Methods that were applied.
        learning_rate: The highest rate; None where there was none to choose.
        updates: Number of updates that were made.
        loss: Cross-entropy on the validation texts in nats, at the temperature at which it is least; None where training diverged.
        accuracy: Fraction of the decisions on them that are right.
        seconds: Seconds that it took, all in all.
        folds: Number of folds of the training texts that gave the figures; 0: they are those of the validation texts.
    """

    strategy: str
    learning_rate: float | None
    updates: int
    loss: float | None
    accuracy: float | None
    seconds: float
    folds: int = 0


@dataclasses.dataclass(frozen=True)
class TimedResult:
    """Result of a training within some time; `print` it for a table.

    Attributes:
        trials: In their order.
        best: The one whose weights the task has now.
        epochs: A dictionary of figures for each epoch of it.
        missing: Seconds that were missing to train everything for the recipe's number of updates; 0 for none.
    """

    trials: tuple[Trial, ...]
    best: Trial
    epochs: list[dict[str, float]]
    missing: float = 0.0

    def __str__(self) -> str:
        rows = [["", "method", "rate", "updates", "loss", "right", "of", "seconds"]]
        for trial in self.trials:
            rate = "-" if trial.learning_rate is None else f"{trial.learning_rate:.1e}"
            figures = ("diverged", "-") if trial.loss is None else (f"{trial.loss:.4f}", f"{trial.accuracy:.4f}")
            best = "kept" if trial is self.best else ""
            judge = f"{trial.folds} folds" if trial.folds else "validation"
            rows.append([best, trial.strategy, rate, f"{trial.updates:,}", *figures, judge, f"{trial.seconds:.0f}"])
        return text_table(rows, left=(0, 1))


def rungs_of(count: int) -> list[int]:
    """Return the number of candidates that are left on each rung, of `count` on the first.

    Example:
        >>> rungs_of(5), rungs_of(1)
        ([5, 2, 1], [1])
    """
    rungs = [count]
    while rungs[-1] > 1:
        rungs.append(math.ceil(rungs[-1] / HALVING))
    return rungs


def last_updates(count: int, seconds: float, update: float, setup: float) -> int:
    """Updates of the last rung where so many candidates share the time; each rung has a third of those of the next.

    Args:
        count: Number of candidates.
        seconds: Seconds for all of it.
        update: Seconds of an update.
        setup: Seconds of a trial beside its updates.

    Example:
        >>> last_updates(1, 100.0, 0.5, 10.0), last_updates(3, 100.0, 0.5, 10.0)
        (180, 60)
    """
    rungs = rungs_of(count)
    shares = sum(left / HALVING**above for above, left in zip(range(len(rungs) - 1, -1, -1), rungs, strict=True))
    return max(0, int((seconds - setup * sum(rungs)) / (update * shares)))


def select_candidates(candidates: Sequence[Candidate], seconds: float, update: float, setup: float, wanted: int) -> int:
    """Return how many of the candidates compete: as many as leave the last one the updates that the recipe wants.

    Example:
        >>> three = [Candidate("full", rate) for rate in (1e-4, 3e-4, 3e-5)]
        >>> [select_candidates(three, seconds, 0.5, 10.0, wanted=250) for seconds in (60, 200, 400)]
        [1, 1, 3]
    """
    for count in sorted({len(candidates), min(HALVING, len(candidates))}, reverse=True):
        if count > 1 and last_updates(count, seconds, update, setup) >= wanted:
            return count
    return 1


def candidates_for(
    recipe: Recipe, hparams: Mapping[str, Any], num_layers: int, *, methods: bool = True, rates: bool = True
) -> list[Candidate]:
    """Return the candidates that compete, the likeliest first.

    Args:
        recipe: The recipe for the rows.
        hparams: The task's `recommended_hparams`.
        num_layers: Blocks of the encoder.
        methods: Whether methods compete; else the task is trained as it is.
        rates: Whether rates compete; else all have the recipe's.

    Example:
        >>> from tftransformer.finetuning.recipe import choose_recipe
        >>> recipe = choose_recipe(1000, 384, 2, {}, fresh_head=True)
        >>> [str(candidate) for candidate in candidates_for(recipe, {}, 6)][:4]
        ['full, rate 1.0e-04', 'full, rate 3.0e-04', 'full, rate 3.3e-05', 'freeze:3, rate 1.0e-04']
    """
    multiples = RATES if rates else RATES[:1]
    if not methods:
        return [Candidate("", recipe.learning_rate * multiple) for multiple in multiples]
    found = [Candidate("full", recipe.learning_rate * multiple) for multiple in multiples]
    if recipe.start is not None and not recipe.epochs:
        found.insert(0, Candidate(recipe.start.partition(":")[0], None))
    frozen = f"freeze:{num_layers // 2}"
    if num_layers > 1:
        rate = parse_strategy(frozen).learning_rate({"learning_rate": recipe.learning_rate, **hparams})
        found += [Candidate(frozen, (rate if rates else recipe.learning_rate) * m, 0.5) for m in multiples[:2]]
    return found
