"""The flags of `examples/pretrain.py train`, checked, and the batches that follow from them."""

import dataclasses
from pathlib import Path
from typing import Any

from tftransformer.data.shard_batches import ShardBatches
from tftransformer.data.shards import Shards
from tftransformer.errors import TransformerError
from tftransformer.experiments.pretraining_texts import check_folder
from tftransformer.training.pretraining_plan import Schedule, check_objective

DTYPES = ("float32", "mixed_bfloat16")
# What a checkpoint must have been made with to go on from it: these decide weights and order of the data.
IDENTITY = ("objective", "max_length", "batch_size", "mask_rate", "learning_rate", "warmup", "dtype", "seed")


@dataclasses.dataclass(frozen=True)
class PretrainingOptions:
    """The flags of `examples/pretrain.py train`, where each is explained."""

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

    def schedule(self) -> Schedule:
        """How long to train."""
        return Schedule(self.minutes, self.steps, self.warmup, self.snapshot_minutes, self.heldout_minutes)

    def check(self) -> None:
        """Everything that can be known before the work starts.

        Raises:
            TransformerError: A number out of range, flags that contradict each other, a folder with files.
        """
        check_objective(self.objective)
        if self.objective != "masked_lm" and not self.teacher:
            raise TransformerError(f"objective {self.objective} needs a teacher: --teacher=FOLDER")
        if self.objective == "masked_lm" and self.teacher:
            raise TransformerError(
                "objective masked_lm has no use for a teacher; leave --teacher out, or take both"
            )
        self.schedule()
        for name in ("batch_size", "sample_texts", "heldout_batches"):
            if getattr(self, name) < 1:
                raise TransformerError(f"{name} must be at least 1; got {getattr(self, name)}")
        for name, known in (("dtype", DTYPES), ("teacher_dtype", ("float32", "bfloat16"))):
            if getattr(self, name) not in known:
                raise TransformerError(
                    f"{name} must be one of {', '.join(known)}; got {getattr(self, name)!r}"
                )
        if self.objective != "distillation" and not 0 < self.mask_rate <= 1:
            raise TransformerError(f"mask_rate must be above 0 and at most 1; got {self.mask_rate}")
        if not self.resume:
            check_folder(self.output_dir, self.overwrite)
            check_folder(str(self.run_folder), self.overwrite)

    def check_length(self, longest: int) -> None:
        """Raise a `TransformerError` unless the rows fit an encoder of so many positions."""
        if not 8 <= self.max_length <= longest:
            raise TransformerError(
                f"max_length must be between 8 and max_sequence_length, {longest}; got {self.max_length}"
            )

    def identity(self, **fingerprints: str) -> dict[str, str]:
        """What a run must have in common with the one it resumes: some options, and hashes of what they name."""
        chosen = {name: str(getattr(self, name)) for name in IDENTITY}
        return {**fingerprints, **chosen, "length_multiple": str(self.length_multiple)}

    @property
    def length_multiple(self) -> int:
        """What lengths of rows are rounded up to; packed rows all have the longest."""
        if self.objective == "masked_lm":
            return 1
        import keras

        # XLA compiles again for each new length; TensorFlow's own kernels take any.
        return 8 if keras.backend.backend() == "tensorflow" else 32

    def plain(self) -> dict[str, Any]:
        """The options as JSON values; of paths the names only, for the rest is nobody else's."""
        plain = dataclasses.asdict(self)
        for name in ("shards", "teacher", "preset", "output_dir"):
            plain[name] = Path(plain[name]).name if plain[name] else None
        return plain


def training_batches(options: PretrainingOptions, shards: Shards, part: str = "train") -> ShardBatches:
    """The batches that a run with these options trains on, or evaluates on (`part` "heldout")."""
    masked = options.objective != "distillation"
    return ShardBatches(
        shards,
        part,
        max_length=options.max_length,
        batch_size=options.batch_size,
        teacher=options.objective != "masked_lm",
        packed=options.objective == "masked_lm",
        mask_rate=options.mask_rate if masked else 0.0,
        length_multiple=options.length_multiple,
        seed=options.seed,
    )
