"""A comparison of strategies from data to a table, as `examples/compare_strategies.py` runs it."""

from collections.abc import Sequence

from tftransformer.data import checks
from tftransformer.data.cutting import subset
from tftransformer.errors import TransformerError
from tftransformer.runs.classification import load_splits
from tftransformer.runs.options import ClassificationOptions
from tftransformer.runs.strategy_comparison import compare_strategies, default_strategies
from tftransformer.runs.strategy_table import StrategyTable
from tftransformer.runs.tuning import builder, default_folder


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
    """Compare strategies on the test split, and print the table.

    Args:
        options: The data, the preset, the batch size and the folder. Its seed chooses test rows and cuts splits.
        strategies: None: what suits a model of that many blocks.
        train_examples, seeds, learning_rates, updates: See `compare_strategies`.
        test_examples: Measure on this many test rows; None: on all.

    Raises:
        TransformerError: Anything wrong with the data, the preset, the strategies or the folder.
    """
    splits = load_splits(options)
    if splits.test is None:
        raise TransformerError("a comparison needs a test split; the data have none")
    build = builder(options, splits.train)
    model = build()
    lengths = {name: model.preprocess(split).full_lengths for name, split in splits.present().items()}
    report = checks.check(splits, lengths, model.max_length)
    print(report, flush=True)
    if options.drop_leaked:
        splits = checks.drop_leaked(splits, report)
    test = splits.test if test_examples is None else subset(splits.test, test_examples, options.seed)
    chosen = default_strategies(model.config.num_layers) if strategies is None else strategies
    del model
    folder = options.output_dir or default_folder(options, "strategies")
    table = compare_strategies(
        build, splits.train, test, validation=splits.validation, strategies=chosen, train_examples=train_examples,
        seeds=seeds, learning_rates=learning_rates, updates=updates, batch_size=options.batch_size, output_dir=folder,
        activation_cache=options.activation_cache, say=lambda line: print(line, flush=True),
    )  # fmt: skip
    print(
        f"\n{table}\n\nThe table is in {folder}: report.txt, table.json, comparison.png and a JSON file a run."
    )
    return table
