"""Cross-validate one way of fine-tuning: mean and deviation of its quality over stratified folds.

    python -m tftransformer cross_validate --strategy=freeze:8 --learning_rate=5e-4 --epochs=3 --folds=5

trains five times on four fifths of the embedded sample's training and validation rows and ends with a table: the
figures of each fold, their mean and their deviation. Equal texts, and rows of equal `--group_column`, share a fold; the
test split is left alone. Everything is left in `runs/sample-folds`; interrupted, the same command goes on.
"""

import dataclasses
from typing import Any

from tftransformer.runs.flags import OptionFlags, check_options, option
from tftransformer.runs.options import COLUMNS, ClassificationOptions
from tftransformer.runs.task_options import SOURCES


@dataclasses.dataclass(frozen=True)
class FoldOptions:
    """Division of the rows into folds."""

    folds: int = option(5, "How many folds.", least=2)
    group_column: str | None = option(None, "A column whose equal values stay in one fold, such as an author.")

    def __post_init__(self) -> None:
        check_options(self)


def recipe_of(options: ClassificationOptions) -> dict[str, Any]:
    """Return the settings of the recipe that the options state.

    Example:
        >>> recipe_of(ClassificationOptions(freeze_layers=8))
        {'strategy': 'freeze:8', 'batch_size': 16}
    """
    stated = {"strategy": str(options.fine_tuning()), "batch_size": options.batch_size}
    for name in ("learning_rate", "epochs"):
        if getattr(options, name) is not None:
            stated[name] = getattr(options, name)
    return stated


FOLDS = OptionFlags(FoldOptions)
RUN = OptionFlags(
    ClassificationOptions,
    only=(
        *SOURCES, *COLUMNS, "train_examples", "preset", "pooling", "sequence_length", "strategy", "freeze_layers",
        "learning_rate", "epochs", "batch_size", "activation_cache", "seed", "output_dir",
    ),
    train_examples="Use this many rows, chosen by --seed.",
    seed="Random seed of folds, weights, order, splits and subsets.",
    output_dir="Folder of the folds; default: runs/NAME-folds.",
)  # fmt: skip
FLAGS = (RUN, FOLDS)


def run(options: ClassificationOptions, folds: FoldOptions) -> None:
    """Train once a fold, and print the table."""
    from tftransformer.runs import tuning

    tuning.run_cross_validation(options, recipe_of(options), folds=folds.folds, group_column=folds.group_column)
