"""A search, a cross-validation or a comparison of strategies from data to a report, as their examples run them."""

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tftransformer import files
from tftransformer.data import checks
from tftransformer.data.loading import READERS
from tftransformer.data.split import Split
from tftransformer.data.splitting import subset
from tftransformer.errors import TransformerError, near_miss
from tftransformer.progress import say
from tftransformer.runs.classification import build_classifier, load_splits
from tftransformer.runs.cross_validation import CrossValidation, cross_validate
from tftransformer.runs.finished_runs import joined
from tftransformer.runs.options import ClassificationOptions
from tftransformer.runs.recipes import check_recipe
from tftransformer.runs.search import SearchResult, search
from tftransformer.runs.search_space import SearchSpace
from tftransformer.runs.strategy_comparison import StrategyTable, compare_strategies, default_strategies
from tftransformer.runs.train import report_data


def run_search(
    options: ClassificationOptions,
    space: Mapping[str, Any],
    *,
    trials: int = 20,
    pruner: str = "median",
    report_test: bool = True,
) -> SearchResult:
    """Search on the training and validation splits, print the table, and report the best model on the test split."""
    SearchSpace(space)
    splits = load_splits(options)
    if splits.validation is None:
        raise TransformerError("a search needs a validation split to choose by; the data have none")
    train = _chosen(splits.train, options)
    build = functools.partial(build_classifier, options, splits.train)
    report_data(build(), splits)
    folder = options.output_dir or default_folder(options, "search")
    result = search(
        build, train, splits.validation, space, trials=trials, output_dir=folder, seed=options.seed, pruner=pruner,
        activation_cache=options.activation_cache, say=say,
    )  # fmt: skip
    print(f"\n{result}\n")
    if report_test and splits.test is not None:
        report = result.load_best().report(splits.test)
        files.write_text(Path(folder) / "test_report.txt", f"{report}\n")
        print(f"The best model on the test split, which had no part in the search:\n\n{report}\n")
    print(
        f"The search is in {folder}: report.txt, quality.png, the model ({result.model_path.name}), a JSON file a trial."
    )
    return result


def run_cross_validation(
    options: ClassificationOptions, recipe: Mapping[str, Any], *, folds: int = 5, group_column: str | None = None
) -> CrossValidation:
    """Cross-validate a recipe on the training and validation splits together; the test split is left alone."""
    check_recipe(recipe)
    if group_column is not None and options.train_examples is not None:
        raise TransformerError("train_examples cannot go with group_column: it would tear groups apart")
    splits = load_splits(options)
    groups = None
    if group_column is not None:
        parts = [part for part in (splits.train, splits.validation) if part is not None]
        groups = [value for part in parts for value in column_values(part, group_column)]
    data = _chosen(joined(splits.train, splits.validation), options)
    build = functools.partial(build_classifier, options, data)
    folder = options.output_dir or default_folder(options, "folds")
    result = cross_validate(
        build, data, folds, options.seed, groups=groups, output_dir=folder, activation_cache=options.activation_cache,
        say=say, **recipe,
    )  # fmt: skip
    print(f"\n{result}\n\nThe folds are in {folder}: report.txt, metrics.json and a JSON file a fold.")
    return result


def column_values(data: Split, column: str) -> list[str]:
    """A further column of the file that a split came from, row by row."""
    path = Path(data.source)
    if data.rows is None or path.suffix.lower() not in READERS or not path.is_file():
        raise TransformerError(
            f"group_column needs data from a CSV, TSV or JSONL file; got {data.source or data.name!r}"
        )
    table = READERS[path.suffix.lower()](path)
    if table.names is None:
        table = table.without_header()
    if column not in table.names:
        raise TransformerError(
            f"group_column must be a column of {path.name}, {', '.join(table.names)}; got {column!r}"
            f"{near_miss(column, table.names)}"
        )
    place = table.names.index(column)
    values = {line: str(row[place]) for line, row in zip(table.lines, table.rows, strict=True)}
    return [values[line] for line in data.rows]


def default_folder(options: ClassificationOptions, kind: str) -> str:
    """`runs/NAME-KIND`: the same for the same data, so that calling a command again goes on with its work."""
    return f"runs/{options.data_name}-{kind}"


def _chosen(data: Split, options: ClassificationOptions) -> Split:
    return data if options.train_examples is None else subset(data, options.train_examples, options.seed)


def run_comparison(
    options: ClassificationOptions,
    strategies: Sequence[str] | None,
    train_examples: Sequence[int],
    *,
    seeds: int = 3,
    learning_rates: Sequence[float] = (),
    updates: int = 300,
    test_examples: int | None = None,
) -> StrategyTable:
    """Compare strategies on the test split, and print the table."""
    splits = load_splits(options)
    if splits.test is None:
        raise TransformerError("a comparison needs a test split; the data have none")
    build = functools.partial(build_classifier, options, splits.train)
    model = build()
    report, _ = report_data(model, splits)
    if options.drop_leaked:
        splits = checks.drop_leaked(splits, report)
    test = splits.test if test_examples is None else subset(splits.test, test_examples, options.seed)
    chosen = default_strategies(model.config.num_layers) if strategies is None else strategies
    del model
    folder = options.output_dir or default_folder(options, "strategies")
    table = compare_strategies(
        build, splits.train, test, validation=splits.validation, strategies=chosen, train_examples=train_examples,
        seeds=seeds, learning_rates=learning_rates, updates=updates, batch_size=options.batch_size, output_dir=folder,
        activation_cache=options.activation_cache, say=say,
    )  # fmt: skip
    print(f"\n{table}\n\nThe table is in {folder}: report.txt, table.json, comparison.png and a JSON file a run.")
    return table
