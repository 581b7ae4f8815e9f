"""What decides a run of several tasks, checked before anything is read, and before Keras and TensorFlow are loaded."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from tftransformer.data.readers.text_file import existing_path
from tftransformer.data.task_sampling import DEFAULT_SAMPLING, batch_shares
from tftransformer.errors import TransformerError
from tftransformer.finetuning.defaults import EPOCHS
from tftransformer.runs.flags import check_least, like, option
from tftransformer.runs.options import STRATEGIES, ClassificationOptions
from tftransformer.runs.paths import with_absolute_paths
from tftransformer.runs.recipes import check_recipe, with_learning_rate


@dataclasses.dataclass(frozen=True)
class MultiTaskOptions:
    """Everything that decides a run of `multi_task`; flags and their help are made from the fields.

    Raises:
        TransformerError: A number out of range or an unknown strategy, before any data are read.
    """

    # Data
    data: str | None = option(
        None, "A folder with a folder or file for each task; default: two tasks made of the sample."
    )
    tasks: Sequence[str] | None = option(None, "Names of tasks in --data; default: sst2,ag_news,mrpc.")
    train_examples: int | None = option(None, "Most training rows of a task, chosen by --seed.", least=2)
    test_examples: int | None = option(None, "Most test rows of a task, likewise.", least=1)
    max_length: int | None = like(ClassificationOptions, "max_length")

    # Model
    preset: str = like(ClassificationOptions, "preset")
    strategy: str = option(
        "full", f"How all models alike are fine-tuned: {STRATEGIES}, or several with + between."
    )

    # Training
    alone: bool = option(True, "Train each task alone, too; --noalone trains together only.")
    sampling: str = option(
        DEFAULT_SAMPLING, "How tasks share the batches: proportional:POWER of their size, or equal."
    )
    epochs: int | None = option(
        None,
        "As many batches as passes over all rows take; default: the preset's advice, else 3, and more where these "
        "are fewer than 250 updates.",
    )
    batch_size: int = option(16, "Rows a batch.")
    learning_rate: float | None = like(ClassificationOptions, "learning_rate")
    seed: int = like(ClassificationOptions, "seed")
    output_dir: str | None = option(None, "Folder of the run; default: the next free runs/multi_task-N.")
    overwrite: bool = like(ClassificationOptions, "overwrite")

    def check(self) -> None:
        """Refuse what can be seen on the disk before anything is read.

        Raises:
            TransformerError: The folder of the tasks does not exist.
        """
        if self.data is not None:
            existing_path(self.data, "data")

    def recorded(self) -> dict[str, Any]:
        """The options as a run's record has them, what lies on the disk by absolute paths."""
        return with_absolute_paths(dataclasses.asdict(self), ("preset", "data"))

    def __post_init__(self) -> None:
        check_least(self)
        if self.tasks and self.data is None:
            raise TransformerError(
                f"tasks goes with data, a folder that holds them; got {', '.join(self.tasks)} without it"
            )
        check_recipe(self.recipe({}))
        batch_shares(self.sampling, {"one": 1, "other": 1})

    def recipe(self, advice: Mapping[str, Any]) -> dict[str, Any]:
        """How every model of the run is trained: as stated, else as strategy and preset advise."""
        recipe = {"strategy": self.strategy, "batch_size": self.batch_size}
        recipe["epochs"] = advice.get("epochs", EPOCHS) if self.epochs is None else self.epochs
        if self.learning_rate is not None:
            recipe["learning_rate"] = self.learning_rate
        return with_learning_rate(recipe, advice)
