"""The flags of `examples/pretrain.py`, checked without Keras; each is explained there."""

import dataclasses
from pathlib import Path
from typing import Any

from tftransformer.errors import TransformerError, near_miss
from tftransformer.finetuning.arguments import check_number, check_run_length

OBJECTIVES = ("masked_lm", "distillation", "both")
CHOICES = {"dtype": ("float32", "mixed_bfloat16"), "teacher_dtype": ("float32", "bfloat16")}
# What a checkpoint must have been made with to go on from it: these decide weights and order of the data.
IDENTITY = ("objective", "max_length", "batch_size", "mask_rate", "learning_rate", "warmup", "dtype", "seed")


@dataclasses.dataclass(frozen=True)
class TextOptions:
    """The flags of `pretrain.py prepare`."""

    texts: tuple[str, ...]
    output_dir: str
    vocabulary: str | None = None
    preset: str | None = None
    vocabulary_size: int = 13000
    lowercase: bool = True
    vocabulary_paragraphs: int = 2_000_000
    teacher: str | None = None
    heldout_fraction: float = 0.005
    seed: int = 0
    overwrite: bool = False

    def check(self) -> None:
        """Raise a `TransformerError` for a number out of range, flags that contradict each other, a folder with files."""
        if self.vocabulary and self.preset:
            raise TransformerError("give vocabulary or preset, whose tokenizer is taken; got both")
        if not 0 < self.heldout_fraction < 0.5:
            raise TransformerError(
                f"heldout_fraction must be above 0 and below 0.5; got {self.heldout_fraction}"
            )
        _check_positive(self, "vocabulary_size", "vocabulary_paragraphs")
        _check_folder(Path(self.output_dir), self.overwrite)


@dataclasses.dataclass(frozen=True)
class PretrainingOptions:
    """The flags of `pretrain.py train`."""

    shards: str
    output_dir: str
    objective: str = "masked_lm"
    preset: str | None = None
    teacher: str | None = None
    inherit: bool = True
    family: str = "bert"
    num_layers: int = 12
    hidden_dim: int = 192
    num_heads: int = 6
    intermediate_dim: int = 768
    max_sequence_length: int = 256
    dropout: float = 0.1
    max_length: int = 128
    batch_size: int = 32
    learning_rate: float = 5e-4
    warmup: int = 200
    mask_rate: float = 0.15
    dtype: str = "float32"
    teacher_dtype: str = "bfloat16"
    minutes: float | None = None
    steps: int | None = None
    sample_texts: int = 1500
    heldout_batches: int = 16
    heldout_minutes: float = 10.0
    snapshot_minutes: float = 10.0
    seed: int = 0
    resume: bool = False
    overwrite: bool = False

    @property
    def run_folder(self) -> Path:
        """Where checkpoint, log and curves go: beside the preset, which is nobody's business but a reader's."""
        folder = Path(self.output_dir)
        return folder.with_name(f"{folder.name}.run")

    def check(self) -> None:
        """Raise a `TransformerError` for a number out of range, flags that contradict each other, a folder with files."""
        if self.objective not in OBJECTIVES:
            raise TransformerError(
                f"objective must be one of {', '.join(OBJECTIVES)}; got {self.objective!r}"
                f"{near_miss(self.objective, OBJECTIVES)}"
            )
        if self.objective != "masked_lm" and not self.teacher:
            raise TransformerError(f"objective {self.objective} needs a teacher: --teacher=FOLDER")
        if self.objective == "masked_lm" and self.teacher:
            raise TransformerError(
                "objective masked_lm has no use for a teacher; leave --teacher out, or take both"
            )
        check_run_length(self.steps, self.minutes)
        _check_positive(self, "batch_size", "sample_texts", "heldout_batches")
        check_number("learning_rate", self.learning_rate, "above 0", lambda rate: rate > 0)
        if self.warmup < 0:
            raise TransformerError(f"warmup must be at least 0; got {self.warmup}")
        for name, known in CHOICES.items():
            if getattr(self, name) not in known:
                raise TransformerError(
                    f"{name} must be one of {', '.join(known)}; got {getattr(self, name)!r}"
                )
        if self.objective != "distillation" and not 0 < self.mask_rate <= 1:
            raise TransformerError(f"mask_rate must be above 0 and at most 1; got {self.mask_rate}")
        if not self.resume:
            for folder in (Path(self.output_dir), self.run_folder):
                _check_folder(folder, self.overwrite)

    def plain(self) -> dict[str, Any]:
        """The options as JSON values; of paths the names only, for the rest is nobody else's."""
        plain = dataclasses.asdict(self)
        for name in ("shards", "teacher", "preset", "output_dir"):
            plain[name] = Path(plain[name]).name if plain[name] else None
        return plain


def _check_positive(options: Any, *names: str) -> None:
    for name in names:
        if getattr(options, name) < 1:
            raise TransformerError(f"{name} must be at least 1; got {getattr(options, name)}")


def _check_folder(folder: Path, overwrite: bool) -> None:
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())) and not overwrite:
        raise TransformerError(f"output_dir {folder} holds files already; choose another, or --overwrite")
