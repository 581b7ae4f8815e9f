"""Options of the two steps of the command `pretrain`, checked without Keras; its flags are made from the fields."""

import dataclasses
from pathlib import Path
from typing import Any

from tftransformer.errors import TransformerError
from tftransformer.finetuning.arguments import check_number, check_run_length
from tftransformer.runs.flags import check_options, like, option

# What a checkpoint must have been made with to go on from it: these decide weights and order of the data.
IDENTITY = ("objective", "sequence_length", "batch_size", "mask_rate", "learning_rate", "warmup", "dtype", "seed")


@dataclasses.dataclass(frozen=True)
class PretrainingOptions:
    """Everything that decides `pretrain.py train`."""

    # What to learn from
    shards: str = option(dataclasses.MISSING, "Folder that `prepare` made.")
    output_dir: str = option(dataclasses.MISSING, "Folder of the shards (prepare) or of the preset (train).")
    objective: str = option(
        "masked_lm",
        "masked_lm, distillation, or both: masked texts for the student, whole ones for the teacher.",
        choices=("masked_lm", "distillation", "both"),
    )
    preset: str | None = option(None, "Preset or folder whose tokenizer to take (prepare), or to continue (train).")
    teacher: str | None = option(None, "Preset or folder of the teacher, an encoder of the BERT family.")
    inherit: bool = option(True, "Start from the teacher's weights; --noinherit starts from random ones.")

    # The model, where it starts from nothing
    family: str = option("bert", "Family of the encoder.")
    num_layers: int = option(12, "Blocks.")
    hidden_dim: int = option(192, "Width of the residual stream.")
    num_heads: int = option(6, "Attention heads.")
    intermediate_dim: int = option(768, "Width inside the feed-forward layers.")
    max_sequence_length: int = option(256, "Positions the saved encoder knows.")
    dropout: float = option(0.1, "Dropout rate that the saved encoder fine-tunes with; pretraining itself uses none.")

    # How
    sequence_length: int = option(128, "Longest row in tokens while training.")
    batch_size: int = option(32, "Rows of that length in a batch; of shorter ones it holds more.", least=1)
    learning_rate: float = option(5e-4, "Highest rate of AdamW; it decays linearly to the end of the run.")
    warmup: int = option(200, "Steps over which it rises.", least=0)
    mask_rate: float = option(0.15, "Fraction of the words that masked-LM masks.")
    dtype: str = option("float32", "Dtype policy.", choices=("float32", "mixed_bfloat16"))
    teacher_dtype: str = option("bfloat16", "Dtype of the teacher.", choices=("float32", "bfloat16"))
    minutes: float | None = option(None, "Train for so long, by the clock.")
    steps: int | None = option(None, "Or for so many steps.")
    sample_texts: int = option(1500, "Texts on which inherited weights are fitted.", least=1)
    heldout_batches: int = option(16, "Held-out batches to evaluate on.", least=1)
    heldout_minutes: float = option(10.0, "Minutes between two evaluations on them.")
    snapshot_minutes: float = option(10.0, "Minutes between two writings of preset and checkpoint.")
    seed: int = option(0, "Random seed of weights, order and masks.")
    resume: bool = option(False, "Go on from the checkpoint of --output_dir.")
    overwrite: bool = option(False, "Replace what --output_dir holds.")

    @property
    def run_folder(self) -> Path:
        """Folder of checkpoint, log and curves, beside the preset."""
        folder = Path(self.output_dir)
        return folder.with_name(f"{folder.name}.run")

    def check(self) -> None:
        """Raise a `TransformerError` for a number out of range, flags that contradict each other, a folder with files."""
        check_options(self)
        if self.objective != "masked_lm" and not self.teacher:
            raise TransformerError(f"objective {self.objective} needs a teacher: --teacher=FOLDER")
        if self.objective == "masked_lm" and self.teacher:
            raise TransformerError("objective masked_lm has no use for a teacher; leave --teacher out, or take both")
        check_run_length(self.steps, self.minutes)
        check_number("learning_rate", self.learning_rate, "above 0", lambda rate: rate > 0)
        if self.objective != "distillation":
            check_number("mask_rate", self.mask_rate, "above 0 and at most 1", lambda rate: 0 < rate <= 1)
        if not self.resume:
            for folder in (Path(self.output_dir), self.run_folder):
                _check_folder(folder, self.overwrite)

    def plain(self) -> dict[str, Any]:
        """The options as JSON values; of paths the last name only: presets are given to others."""
        plain = dataclasses.asdict(self)
        for name in ("shards", "teacher", "preset", "output_dir"):
            plain[name] = Path(plain[name]).name if plain[name] else None
        return plain


@dataclasses.dataclass(frozen=True)
class TextOptions:
    """Everything that decides `pretrain.py prepare`."""

    texts: tuple[str, ...] = option(dataclasses.MISSING, "A text file or a folder of them; may be given several times.")
    output_dir: str = like(PretrainingOptions, "output_dir")
    vocabulary: str | None = option(None, "A vocab.txt; by default one is learned from the texts.")
    preset: str | None = like(PretrainingOptions, "preset")
    vocabulary_size: int = option(13000, "Pieces to learn.", least=1)
    lowercase: bool = option(True, "Lower-case the texts (with --vocabulary or a learned one).")
    vocabulary_paragraphs: int = option(2_000_000, "Most paragraphs to learn the vocabulary from.", least=1)
    teacher: str | None = like(PretrainingOptions, "teacher")
    heldout_fraction: float = option(0.005, "Fraction of the documents that are held out.")
    seed: int = like(PretrainingOptions, "seed")
    overwrite: bool = like(PretrainingOptions, "overwrite")

    def check(self) -> None:
        """Raise a `TransformerError` for a number out of range, flags that contradict each other, a folder with files."""
        check_options(self)
        if self.vocabulary and self.preset:
            raise TransformerError("give vocabulary or preset, whose tokenizer is taken; got both")
        check_number("heldout_fraction", self.heldout_fraction, "above 0 and below 0.5", lambda part: 0 < part < 0.5)
        _check_folder(Path(self.output_dir), self.overwrite)


def _check_folder(folder: Path, overwrite: bool) -> None:
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())) and not overwrite:
        raise TransformerError(f"output_dir {folder} holds files already; choose another, or --overwrite")
