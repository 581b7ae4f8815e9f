"""Compare fine-tuning strategies by amount of data: one table and one plot.

    python -m tftransformer compare_strategies --strategies=full,freeze:8,lora:8,head --train_examples=50,200 --seeds=3

trains each strategy on the same 50 and 200 rows of the embedded sample with each of three seeds, always for as many
updates, and ends with a table: accuracy on the test rows, the difference to the first strategy seed by seed, how many
parameters trained, and how long it took. Everything is left in `runs/sample-strategies`, with `comparison.png`;
interrupted, the same command goes on, and further strategies, sizes and seeds join the same table.

    python -m tftransformer compare_strategies --dataset=tickets.csv --train_examples=100,1000 --learning_rates=1e-4,3e-4,1e-3

lets each strategy have the rate that is best for it on the validation rows.
"""

import dataclasses
from collections.abc import Sequence

from tftransformer.finetuning.strategy import parse_strategy
from tftransformer.runs.flags import OptionFlags, check_options, option
from tftransformer.runs.options import COLUMNS, ClassificationOptions
from tftransformer.runs.recipes import check_table
from tftransformer.runs.task_options import SOURCES, STRATEGIES


@dataclasses.dataclass(frozen=True)
class TableOptions:
    """Contents of the table."""

    strategies: Sequence[str] | None = option(
        None,
        f"Some of {STRATEGIES}, or several with + between; default: some of the kinds. The others are compared with "
        "the first.",
        argument="strategy",
    )
    train_examples: Sequence[int] = option((50, 200), "How many rows to train on; a row of the table each.")
    seeds: int = option(3, "How many seeds: rows, fresh weights, order and dropout differ by them.", least=1)
    learning_rates: Sequence[float] = option(
        (),
        "Rates from which each strategy has its best on the validation rows; default: its own.",
        argument="learning_rate",
    )
    updates: int = option(300, "Batches that each model is trained on, rounded up to whole epochs.", least=1)
    test_examples: int | None = option(None, "Measure on this many test rows; default: all.", least=1)

    def __post_init__(self) -> None:
        check_options(self)
        chosen = None if self.strategies is None else [parse_strategy(text) for text in self.strategies]
        check_table(chosen, self.train_examples, self.seeds, self.learning_rates, self.updates)


TABLE = OptionFlags(TableOptions)
RUN = OptionFlags(
    ClassificationOptions,
    only=(
        *SOURCES, *COLUMNS, "drop_leaked", "preset", "pooling", "sequence_length", "batch_size", "activation_cache", "seed",
        "output_dir",
    ),
    seed="Random seed of splits that are cut, and of the choice of test rows.",
    output_dir="Folder of the table; default: runs/NAME-strategies.",
)  # fmt: skip
FLAGS = (RUN, TABLE)


def run(options: ClassificationOptions, table: TableOptions) -> None:
    """Train what the table lacks, and print it."""
    from tftransformer.runs import tuning

    tuning.run_comparison(options, **vars(table))
