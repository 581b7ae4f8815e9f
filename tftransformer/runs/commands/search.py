"""Search for the learning rate, the epochs and the fine-tuning strategy that validate best.

    python -m tftransformer search --strategies=full,freeze:8,lora:8 --learning_rate=1e-5,1e-3 --epochs=2,5 --trials=20

tries twenty recipes on the embedded sample and ends with a table of them, the best first, and the best model's report
on the test split, which had no part in the choice. Everything is left in `runs/sample-search`, `quality.png` (quality
against learning rate, coloured by strategy) among it. Interrupted or given more trials, the same command goes on.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

from tftransformer.errors import TransformerError
from tftransformer.runs.flags import OptionFlags, check_options, option, read_range
from tftransformer.runs.options import COLUMNS, ClassificationOptions
from tftransformer.runs.search_space import PRUNERS, SearchSpace
from tftransformer.runs.task_options import SOURCES


@dataclasses.dataclass(frozen=True)
class SearchOptions:
    """Settings to search over, and the length of the search."""

    strategies: Sequence[str] = option(
        ("full", "freeze:8", "head"), "Strategies to choose from; 'freeze' takes --freeze_layers.", argument="strategy"
    )
    learning_rate: float | tuple[float, float] = option(
        (1e-5, 1e-3), "A rate, or the lowest and the highest.", read=read_range
    )
    epochs: int | tuple[int, int] = option((2, 5), "A number of epochs, or the least and the most.", read=read_range)
    freeze_layers: int | tuple[int, int] | None = option(
        None, "For the strategy 'freeze': a number of blocks, or the least and the most.", read=read_range
    )
    batch_size: int = option(16, "Rows a batch.")
    trials: int = option(20, "How many recipes to try, all in all.", least=1)
    pruner: str = option("median", "Which trials to give up early.", choices=PRUNERS)
    report_test: bool = option(True, "Report the best model on the test split when the search is over.")

    def space(self) -> dict[str, Any]:
        """The space, as `SearchSpace` takes it."""
        space = {"strategy": list(self.strategies)}
        space |= {name: getattr(self, name) for name in ("learning_rate", "epochs", "batch_size")}
        return space if self.freeze_layers is None else {**space, "freeze_layers": self.freeze_layers}

    def __post_init__(self) -> None:
        check_options(self)
        ranges = (self.learning_rate, self.epochs, self.freeze_layers)
        if len(set(self.strategies)) == 1 and not any(isinstance(value, tuple) for value in ranges):
            raise TransformerError(
                "a search needs something to choose from: several --strategies, or two numbers for --learning_rate, "
                "--epochs or --freeze_layers"
            )
        SearchSpace(self.space())


SEARCH = OptionFlags(SearchOptions)
RUN = OptionFlags(
    ClassificationOptions,
    only=(
        *SOURCES, *COLUMNS, "train_examples", "preset", "pooling", "sequence_length", "activation_cache", "seed",
        "output_dir",
    ),
    seed="Random seed of proposals, weights, order, splits and subsets.",
    output_dir="Folder of the search; default: runs/NAME-search.",
)  # fmt: skip
FLAGS = (RUN, SEARCH)


def run(options: ClassificationOptions, found: SearchOptions) -> None:
    """Search, and report the best model."""
    from tftransformer.runs import tuning

    tuning.run_search(options, found.space(), trials=found.trials, pruner=found.pruner, report_test=found.report_test)
