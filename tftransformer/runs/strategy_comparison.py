"""Fine-tuning strategies side by side: the same rows, seeds and number of updates for each, at several training sizes."""

import dataclasses
import gc
import itertools
import math
import os
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
from scipy.stats import t

from tftransformer import files
from tftransformer.data.pipeline import num_batches
from tftransformer.data.split import Split
from tftransformer.data.splitting import subset
from tftransformer.errors import TransformerError
from tftransformer.evaluation.plots import plot_comparison
from tftransformer.evaluation.reports import text_table
from tftransformer.finetuning.activation_cache import ActivationCache, choose_activation_cache
from tftransformer.finetuning.recipe import BATCH_SIZE
from tftransformer.finetuning.strategy import Strategy, parse_strategy
from tftransformer.runs.cross_validation import figures_on
from tftransformer.runs.recipes import Build, check_stages, check_table, prepare, train_recipe
from tftransformer.runs.resumable import all_pieces, digest_of, digest_of_model, resumable_folder
from tftransformer.tasks.task import Task

# Entries of a run's file.
_NEEDED = ("rate", "rows", "seconds", "seed", "strategy", "test", "trained_parameters")
MEASURES = {"accuracy": "accuracy", "macro_f1": "macro-F1", "micro_f1": "micro-F1"}


@dataclasses.dataclass(frozen=True)
class Row:
    """One strategy at one number of training rows, at its best rate.

    Attributes:
        strategy: The strategy as a string.
        rows: Training rows.
        rate: The highest rate.
        scores: The figure of each seed.
        other: The mean of the second figure.
        trained: Parameters that trained, those put in included.
        parameters: All of the model.
        seconds: Seconds of training, tracing included: the median of the seeds.
        difference: Mean of this minus the first strategy's scores, seed by seed; None for the first itself.
        spread: Standard deviation of those differences (with n - 1); None with one seed.
    """

    strategy: str
    rows: int
    rate: float
    scores: tuple[float, ...]
    other: float
    trained: int
    parameters: int
    seconds: float
    difference: float | None = None
    spread: float | None = None

    @property
    def score(self) -> float:
        """The mean over seeds."""
        return statistics.fmean(self.scores)

    @property
    def deviation(self) -> float | None:
        """The standard deviation over seeds (with n - 1); None with one seed."""
        return statistics.stdev(self.scores) if len(self.scores) > 1 else None

    @property
    def margin(self) -> float | None:
        """Half of the 95 % interval of the difference, by Student's t over the seeds; None where there is none."""
        if self.spread is None:
            return None
        return float(t.ppf(0.975, len(self.scores) - 1)) * self.spread / len(self.scores) ** 0.5

    @property
    def beyond_chance(self) -> bool:
        """True if the 95 % interval of the difference leaves 0 out: other seeds would hardly reverse the difference."""
        return self.margin is not None and abs(self.difference) > self.margin


class StrategyTable:
    """Result of `compare_strategies`; `str()` gives a table.

    Args:
        cells: One mapping a run: `strategy`, `rows`, `rate`, `seed`, `test`, `seconds`, `trained_parameters`,
            `parameters`, and `validation` where there is more than one rate.

    Attributes:
        cells: The runs.
        figure: Figure that strategies are compared by: "accuracy" of single-label data, "micro_f1" of multi-label data.
        rows: A `Row` for each strategy and number of training rows.
    """

    def __init__(self, cells: Sequence[Mapping[str, Any]]) -> None:
        self.cells = tuple(cells)
        self.figure = "accuracy" if "accuracy" in cells[0]["test"] else "micro_f1"
        strategies = list(dict.fromkeys(cell["strategy"] for cell in cells))
        self.rows: tuple[Row, ...] = ()
        for size in sorted({cell["rows"] for cell in cells}):
            first = self._row(self._best(strategies[0], size))
            self.rows += (first, *(self._row(self._best(strategy, size), first) for strategy in strategies[1:]))

    def _best(self, strategy: str, size: int) -> list[Mapping[str, Any]]:
        """The runs, in the order of seeds, of the rate that is best on the validation rows."""
        runs: dict[float, list] = {}
        for cell in sorted(self.cells, key=lambda cell: cell["seed"]):
            if (cell["strategy"], cell["rows"]) == (strategy, size):
                runs.setdefault(cell["rate"], []).append(cell)
        if len(runs) == 1:
            return next(iter(runs.values()))
        return max(runs.values(), key=lambda cells: statistics.fmean(c["validation"][self.figure] for c in cells))

    def _row(self, runs: Sequence[Mapping[str, Any]], reference: Row | None = None) -> Row:
        first, scores = runs[0], tuple(run["test"][self.figure] for run in runs)
        theirs = () if reference is None else reference.scores
        differences = [mine - other for mine, other in zip(scores, theirs, strict=reference is not None)]
        return Row(
            first["strategy"],
            first["rows"],
            first["rate"],
            scores,
            statistics.fmean(run["test"]["macro_f1"] for run in runs),
            first["trained_parameters"],
            first["parameters"],
            statistics.median(run["seconds"] for run in runs),
            statistics.fmean(differences) if differences else None,
            statistics.stdev(differences) if len(differences) > 1 else None,
        )

    def to_dict(self) -> dict[str, Any]:
        """All of it as JSON values."""
        more = ("score", "deviation", "beyond_chance")
        rows = [dataclasses.asdict(row) | {name: getattr(row, name) for name in more} for row in self.rows]
        return {"figure": self.figure, "rows": rows, "runs": [dict(cell) for cell in self.cells]}

    def __str__(self) -> str:
        blocks = []
        for size in dict.fromkeys(row.rows for row in self.rows):
            rows = [row for row in self.rows if row.rows == size]
            blocks.append("\n".join([self._block(size, rows), *_verdict(rows)]))
        return "\n\n".join(blocks)

    def _block(self, size: int, rows: Sequence[Row]) -> str:
        reference = rows[0]
        head = ("", MEASURES[self.figure], "macro-F1", f"against {reference.strategy}", "rate", "trained", "time")
        table = [head]
        for row in rows:
            table.append((
                row.strategy,
                _number(row.score, row.deviation),
                f"{row.other:.3f}",
                "" if row.difference is None else _number(row.difference, row.spread, sign="+"),
                f"{row.rate:g}",
                f"{row.trained:,} ({_percent(row.trained / row.parameters)})",
                f"{row.seconds:.0f} s ({row.seconds / reference.seconds:.2f})",
            ))  # fmt: skip
        seeds = f"{len(reference.scores)} seed{'s' * (len(reference.scores) > 1)}"
        return f"{size} training rows, {seeds}\n{text_table(table)}"


def _verdict(rows: Sequence[Row]) -> list[str]:
    """In words what the block of one size says."""
    best, reference = max(rows, key=lambda row: row.score), rows[0]
    lines = [f"best: {best.strategy}"]
    if reference.deviation is None:
        return [*lines, "one seed tells nothing about chance"]
    for what, found in (
        ("better", [row for row in rows[1:] if row.beyond_chance and row.difference > 0]),
        ("worse", [row for row in rows[1:] if row.beyond_chance and row.difference < 0]),
    ):
        if found:
            lines.append(
                f"{what} than {reference.strategy} beyond what seeds explain (95 %): "
                f"{', '.join(row.strategy for row in found)}"
            )
    return lines


def _number(mean: float, deviation: float | None, sign: str = "") -> str:
    text = f"{mean:{sign}.3f}"
    return text if deviation is None else f"{text} ± {deviation:.3f}"


def _percent(fraction: float) -> str:
    return f"{fraction:.0%}" if fraction >= 0.1 else f"{100 * fraction:.2g}%"


def default_strategies(num_layers: int) -> tuple[str, ...]:
    """Return the strategies compared by default: one of each kind, `freeze` of two thirds of the blocks.

    Example:
        >>> default_strategies(12)[1]
        'freeze:8'
    """
    frozen = f"freeze:{2 * num_layers // 3}"
    return ("full", frozen, "unfreeze", "layerwise:0.9", "lora:8", "adapter:48", "bitfit", "head")


def compare_strategies(
    build: Build,
    train: Split,
    test: Split,
    *,
    validation: Split | None = None,
    strategies: Sequence[str] = ("full", "freeze:8", "lora:8", "adapter:48", "head"),
    train_examples: Sequence[int] = (50, 200, 1000),
    seeds: int = 3,
    learning_rates: Sequence[float] = (),
    updates: int = 300,
    batch_size: int = BATCH_SIZE,
    output_dir: str | os.PathLike | None = None,
    activation_cache: str | os.PathLike | ActivationCache = "auto",
    say: Callable[[str], Any] = lambda line: None,
) -> StrategyTable:
    """Train each strategy on each number of rows with each seed, and measure on the same test rows.

    A seed chooses the training rows, the fresh weights, the order and the dropout, so that strategies can be compared
    row by row. Every model trains for as many updates, in as many epochs as that takes: with a number of epochs instead,
    the smallest sets would be compared before anything has trained (Mosbach et al. 2021, arXiv 2006.04884).

    Args:
        build: Makes a fresh classifier: `lambda: tt.TextClassifier.from_preset(…, labels=train.labels)`.
        train: Rows that are chosen from, alike in labels to all.
        test: Rows that everything is measured on.
        validation: Rows that rates are chosen on; needed with several `learning_rates`.
        strategies: Strings for `parse_strategy`.
        train_examples: Numbers of rows to train on; the sizes of the table.
        seeds: Number of seeds; they are 0, 1, 2 …
        learning_rates: Each strategy trains at each of them, and the table has, for each size, the one that is best
            on the validation rows. Without any, each strategy has the rate it is known to want.
        updates: Batches that a model is trained on, rounded up to whole epochs.
        batch_size: Rows a batch.
        output_dir: A folder for a JSON file a run, from which an interrupted table goes on, and to which further
            strategies, sizes, seeds and rates can be added; and for `report.txt`, `table.json` and `comparison.png`.
            None: nothing is kept.
        activation_cache: Argument of `fit`; what is frozen runs once for all.
        say: Takes a line of progress a run.

    Returns:
        The table; `print` it.

    Raises:
        TransformerError: An unknown strategy or one that does not fit the model; more rows than there are; rates to
            choose from without validation rows; or `output_dir` holds something else.

    Example:
        >>> table = compare_strategies(build, train, test, strategies=["full", "lora:8"])  # doctest: +SKIP
        >>> print(table)  # doctest: +SKIP
    """
    chosen = [parse_strategy(text) for text in strategies]
    check_table(chosen, train_examples, seeds, learning_rates, updates)
    if max(train_examples) > len(train):
        raise TransformerError(
            f"train_examples must be at most {len(train)}, the number of training rows; got {max(train_examples)}"
        )
    if learning_rates and validation is None:
        raise TransformerError("learning_rates need validation rows to choose by; the data have none")
    if not len(test):
        raise TransformerError("a comparison needs test rows; the data have none")
    model = _try(build, chosen, max(train_examples), updates, batch_size)
    rates = {
        strategy: tuple(learning_rates) or (strategy.learning_rate(model.recommended_hparams),) for strategy in chosen
    }
    settings = {
        "updates": updates,
        "batch_size": batch_size,
        "train": digest_of(train),
        "validation": None if validation is None else digest_of(validation),
        "test": digest_of(test),
        "model": digest_of_model(model),
    }
    del model
    cache = choose_activation_cache(activation_cache) or "off"
    plan = {
        f"{str(strategy).replace(':', '-')}_{rows}-rows_rate-{rate:g}_seed-{seed}": (strategy, rows, rate, seed)
        for rows, seed, strategy in itertools.product(sorted(train_examples), range(seeds), chosen)
        for rate in rates[strategy]
    }
    score_on = validation if learning_rates else None

    def run(cell: tuple[Strategy, int, float, int]) -> dict[str, Any]:
        strategy, rows, rate, seed = cell
        part = subset(train, rows, seed)
        recipe = {
            "strategy": str(strategy),
            "learning_rate": rate,
            "epochs": _epochs(updates, len(part), batch_size),
            "batch_size": batch_size,
        }
        found = _run(build, recipe, part, test, score_on, seed, cache)
        return {"strategy": str(strategy), "rows": rows, "rate": rate, "seed": seed, **found}

    with resumable_folder(output_dir, "table of strategies", settings) as folder:
        # Where rates are chosen, runs of a table without that choice lack a figure, and run again.
        wanted = ("test", "validation") if learning_rates else ("test",)
        table = StrategyTable(all_pieces(folder, plan, run, _line, what="run", needs=_NEEDED, wanted=wanted, say=say))
        if folder is not None:
            files.write_json(folder / "table.json", table.to_dict())
            files.write_text(folder / "report.txt", f"{table}\n")
            plot_comparison(folder / "comparison.png", table.rows, table.figure)
    return table


def _epochs(updates: int, rows: int, batch_size: int) -> int:
    return math.ceil(updates / num_batches(rows, batch_size))


def _try(build: Build, strategies: Sequence[Strategy], most_rows: int, updates: int, batch_size: int) -> Task:
    """A fresh model, after each strategy was applied to one: what does not fit is refused before hours of training."""
    fewest = _epochs(updates, most_rows, batch_size)
    for strategy in strategies:
        model, fit = prepare(build, {"strategy": str(strategy), "epochs": 1000})
        try:
            check_stages(model, fewest)
        except TransformerError as error:
            raise TransformerError(f"updates={updates} on {most_rows} rows are too few: {error}") from None
        del model
    keras.utils.set_random_seed(0)
    return build()


def _line(result: Mapping[str, Any]) -> str:
    scores = ", ".join(f"{name} {value:.3f}" for name, value in result["test"].items() if name in MEASURES)
    return (
        f"{result['strategy']}, {result['rows']} rows, seed {result['seed']}, rate {result['rate']:g}: {scores}, "
        f"{result['seconds']:.0f} s"
    )


def _run(
    build: Build,
    recipe: Mapping[str, Any],
    train: Split,
    test: Split,
    validation: Split | None,
    seed: int,
    cache: ActivationCache | str,
) -> dict[str, Any]:
    def seeded() -> Task:
        model = build()
        model.seed = seed
        return model

    started = time.perf_counter()
    model, _ = train_recipe(seeded, recipe, train, seed=seed, activation_cache=cache)
    seconds = time.perf_counter() - started
    scored = {"test": test} if validation is None else {"test": test, "validation": validation}
    result: dict[str, Any] = {"epochs": recipe["epochs"], "seconds": seconds}
    for name, split in scored.items():
        result[name] = figures_on(split, model)
    result["trained_parameters"] = sum(math.prod(weight.shape) for weight in model.trainable_variables)
    result["parameters"] = model.count_params()
    # Models hold one another by way of Keras's graphs until they are collected.
    del model
    gc.collect()
    return result
