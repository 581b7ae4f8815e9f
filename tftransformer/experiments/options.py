"""What decides a run, checked before anything is read."""

import dataclasses
from collections.abc import Sequence

from tftransformer.data.augmentation.pipeline import Augmentation
from tftransformer.errors import TransformerError, near_miss
from tftransformer.experiments.recipes import strategy_of
from tftransformer.finetuning.strategy import Strategy

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
        if self.learning_rate is not None and not 0 < self.learning_rate <= 1:
            raise TransformerError(f"learning_rate must be above 0 and at most 1; got {self.learning_rate}")
        if self.mixed_precision not in PRECISIONS:
            raise TransformerError(
                f"mixed_precision must be one of {', '.join(PRECISIONS)}; got {self.mixed_precision!r}"
                f"{near_miss(self.mixed_precision, PRECISIONS)}"
            )
