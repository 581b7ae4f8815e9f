"""What decides a run of several tasks, checked before anything is read, and before Keras and TensorFlow are loaded."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from tftransformer.data.readers.text_file import existing_path
from tftransformer.data.task_sampling import DEFAULT_SAMPLING, batch_shares
from tftransformer.errors import TransformerError
from tftransformer.experiments.paths import with_absolute_paths
from tftransformer.experiments.recipes import check_recipe
from tftransformer.finetuning.defaults import LEARNING_RATE

_LEAST = {"train_examples": 2, "test_examples": 1, "max_length": 3, "seed": 0}


@dataclasses.dataclass(frozen=True)
class MultiTaskOptions:
    """Everything that decides a run. The fields are the flags of `examples/multi_task.py`, which explain them.

    Raises:
        TransformerError: A number out of range or an unknown strategy, before any data are read.
    """

    preset: str = "bert_12x192_en_uncased"
    data: str | None = None
    tasks: Sequence[str] | None = None
    alone: bool = True
    train_examples: int | None = None
    test_examples: int | None = None
    sampling: str = DEFAULT_SAMPLING
    strategy: str = "full"
    max_length: int | None = None
    epochs: int | None = None
    batch_size: int = 16
    learning_rate: float | None = None
    seed: int = 0
    output_dir: str | None = None
    overwrite: bool = False

    def check(self) -> None:
        """Refuse what can be seen on the disk before anything is read.

        Raises:
            TransformerError: The folder of the tasks does not exist.
        """
        if self.data is not None:
            existing_path(self.data)

    def recorded(self) -> dict[str, Any]:
        """The options as a run's record has them, what lies on the disk by absolute paths."""
        return with_absolute_paths(dataclasses.asdict(self), ("preset", "data"))

    def __post_init__(self) -> None:
        for name, least in _LEAST.items():
            value = getattr(self, name)
            if value is not None and value < least:
                raise TransformerError(f"{name} must be at least {least}; got {value}")
        check_recipe(self.recipe({}))
        batch_shares(self.sampling, {"one": 1, "other": 1})

    def recipe(self, advice: Mapping[str, Any]) -> dict[str, Any]:
        """How every model of the run is trained: as stated, else as the preset advises."""
        frozen = self.strategy.startswith("freeze")
        advised = advice.get("frozen_learning_rate" if frozen else "learning_rate", LEARNING_RATE)
        return {
            "strategy": self.strategy,
            "learning_rate": advised if self.learning_rate is None else self.learning_rate,
            "epochs": advice.get("epochs", 3) if self.epochs is None else self.epochs,
            "batch_size": self.batch_size,
        }
