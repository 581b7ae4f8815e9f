"""What decides a run, checked before anything is read, and before Keras and TensorFlow are loaded."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from tftransformer.data.augmentation.pipeline import Augmentation
from tftransformer.data.readers.text_file import existing_path
from tftransformer.errors import TransformerError, near_miss
from tftransformer.experiments.paths import NAMED, with_absolute_paths
from tftransformer.experiments.recipes import strategy_of
from tftransformer.finetuning.arguments import check_number, check_schedule, check_warmup
from tftransformer.finetuning.balancing import class_weights
from tftransformer.finetuning.prefix_folder import check_prefix_cache
from tftransformer.finetuning.strategy import Strategy
from tftransformer.training.strategies import check_strategy

PRECISIONS = {"none": None, "bfloat16": "mixed_bfloat16", "float16": "mixed_float16"}


@dataclasses.dataclass(frozen=True)
class ClassificationOptions:
    """Everything that decides a run. The fields are the flags of `examples/classify.py`, which explain them.

    Raises:
        TransformerError: A number out of range, or an unknown name, before any data are read.
    """

    preset: str = "bert_12x192_en_uncased"
    pretrained: bool = True
    dataset: str = "sample"
    train_path: str | None = None
    validation_path: str | None = None
    test_path: str | None = None
    text_columns: Sequence[str] | None = None
    label_column: str | None = None
    label_columns: Sequence[str] | None = None
    label_delimiter: str | None = None
    train_examples: int | None = None
    drop_leaked: bool = False
    strategy: str | None = None
    freeze_layers: int = 0
    extra_blocks: int = 0
    pooling: str | None = None
    max_length: int | None = None
    epochs: int | None = None
    batch_size: int = 16
    learning_rate: float | None = None
    schedule: str = "linear"
    warmup: float | None = None
    weight_decay: float = 0.01
    label_smoothing: float = 0.0
    gradient_accumulation: int = 1
    class_weight: str = "none"
    mixed_precision: str = "none"
    distribution: str = "default"
    early_stopping: int = 0
    prefix_cache: str = "auto"
    augmentation: Sequence[str] | str | None = None
    augmentation_copies: int = 1
    augmentation_synonyms: str = "wordnet"
    seed: int = 0
    init_from: str | None = None
    add_labels: bool = False
    output_dir: str | None = None
    overwrite: bool = False

    # Options that may name files or folders which are read.
    _PATHS: ClassVar[tuple[str, ...]] = (
        "preset", "dataset", "train_path", "validation_path", "test_path", "init_from", "prefix_cache",
    )  # fmt: skip

    def check(self) -> None:
        """Refuse what can be seen on the disk before anything is read.

        Raises:
            TransformerError: The data set, or a file of a split, does not exist.
        """
        folder = Path()
        if not NAMED.fullmatch(self.dataset):
            folder = existing_path(self.dataset)
        for name in ("train_path", "validation_path", "test_path"):
            path = getattr(self, name)
            if path is not None and not (folder / path).exists():
                existing_path(path)

    def recorded(self) -> dict[str, Any]:
        """The options as a run's record has them: what lies on the disk by absolute paths, so that the data are found
        again from any working directory."""
        return with_absolute_paths(dataclasses.asdict(self), self._PATHS)

    def build_augmentation(self) -> Augmentation | None:
        """What changes the training texts; None where they stay."""
        if not self.augmentation:
            return None
        given = [self.augmentation] if isinstance(self.augmentation, str) else self.augmentation
        return Augmentation(
            *given,
            copies=self.augmentation_copies,
            seed=self.seed,
            synonyms=self.augmentation_synonyms,
        )

    def fine_tuning(self) -> Strategy:
        """How the model is fine-tuned: `strategy`, or what `freeze_layers` means."""
        chosen = {"strategy": self.strategy, "freeze_layers": self.freeze_layers or None}
        return strategy_of({name: value for name, value in chosen.items() if value is not None}) or Strategy(
            "full"
        )

    def __post_init__(self) -> None:
        for name, least in (("train_examples", 2), ("freeze_layers", 0), ("extra_blocks", 0), ("max_length", 3),
                            ("epochs", 1), ("batch_size", 1), ("gradient_accumulation", 1), ("early_stopping", 0),
                            ("augmentation_copies", 0), ("seed", 0)):  # fmt: skip
            value = getattr(self, name)
            if value is not None and value < least:
                raise TransformerError(f"{name} must be at least {least}; got {value}")
        self.build_augmentation()
        self.fine_tuning()
        if self.add_labels and self.init_from is None:
            raise TransformerError(
                "add_labels goes with init_from: labels are added to those of a finished run"
            )
        for name, rule, holds in (
            ("learning_rate", "above 0 and at most 1", lambda value: 0 < value <= 1),
            ("weight_decay", "at least 0", lambda value: value >= 0),
            ("label_smoothing", "at least 0 and below 1", lambda value: 0 <= value < 1),
        ):
            if getattr(self, name) is not None:
                check_number(name, getattr(self, name), rule, holds)
        if self.warmup is not None:
            check_warmup(self.warmup)
        check_schedule(self.schedule)
        check_strategy(self.distribution)
        check_prefix_cache(self.prefix_cache)
        class_weights(self.class_weight, ["any"])  # what it is told, not what it makes of the data
        if self.mixed_precision not in PRECISIONS:
            raise TransformerError(
                f"mixed_precision must be one of {', '.join(PRECISIONS)}; got {self.mixed_precision!r}"
                f"{near_miss(self.mixed_precision, PRECISIONS)}"
            )


@dataclasses.dataclass(frozen=True)
class DocumentOptions(ClassificationOptions):
    """Everything that decides a run of `examples/classify_documents.py`, whose flags explain the fields.

    Raises:
        TransformerError: As `ClassificationOptions`; or a number of chunks, blocks or tokens that cannot be.
    """

    max_chunks: int = 8
    overlap: int = 0
    chunk_blocks: int = 0
    test_examples: int | None = None
    against_truncation: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, least in (("max_chunks", 1), ("overlap", 0), ("chunk_blocks", 0), ("test_examples", 1)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise TransformerError(f"{name} must be at least {least}; got {value}")


@dataclasses.dataclass(frozen=True)
class CustomOptions(ClassificationOptions):
    """Everything that decides a run of `examples/custom_model.py`, whose flags explain the fields.

    Those of `ClassificationOptions` decide the fine-tuning.

    Raises:
        TransformerError: As `ClassificationOptions`; or a weights file without its config and vocabulary.
    """

    config: str | None = None
    weights: str | None = None
    vocabulary: str | None = None
    layers: str | None = None
    max_sequence_length: int | None = None
    positions: str = "repeated"
    new_tokens: Sequence[str] = ()
    model_dir: str | None = None

    _PATHS: ClassVar[tuple[str, ...]] = (*ClassificationOptions._PATHS, "config", "weights", "vocabulary")

    def check(self) -> None:
        super().check()
        for path in (self.config, self.weights, self.vocabulary):
            if path is not None:
                existing_path(path)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.weights is None and self.vocabulary is not None:
            raise TransformerError("vocabulary goes with weights; the vocabulary of a preset is its own")
        if self.weights is not None and (self.config is None or self.vocabulary is None):
            raise TransformerError("weights, a bare file, need a config and a vocabulary beside them")
