"""Options of runs from pairs of texts (translations, summaries), checked without Keras; flags are made from the fields."""

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar, Self

from tftransformer.errors import TransformerError
from tftransformer.finetuning.arguments import check_number, check_schedule
from tftransformer.models.families import FAMILIES
from tftransformer.runs.flags import check_options, like, option
from tftransformer.runs.options import ClassificationOptions
from tftransformer.runs.run_folder import RunFolder
from tftransformer.runs.task_options import PRECISIONS, STRATEGIES

# What decides the network and its tokens: a run that goes on with another one, or with a preset, has these of it.
NETWORK = (
    "family", "vocabulary_size", "num_layers", "hidden_dim", "num_heads", "intermediate_dim", "normalize_first",
    "share_vocabulary",
)  # fmt: skip


def check_training(options: Any) -> None:
    """Raise a `TransformerError` for what cannot be of the options of how a task that writes texts is trained."""
    if options.epochs is not None and options.minutes is not None:
        raise TransformerError(f"epochs cannot go with minutes, which decide how long is trained; got {options.epochs}")
    if options.minutes is not None:
        check_number("minutes", options.minutes, "above 0", lambda value: value > 0)
    check_number("dropout", options.dropout, "at least 0 and below 1", lambda value: 0 <= value < 1)
    if options.learning_rate is not None:
        check_number("learning_rate", options.learning_rate, "above 0", lambda value: value > 0)
    check_schedule(options.schedule)
    if options.minutes is not None and options.schedule not in ("inverse_sqrt", "constant"):
        raise TransformerError(
            f"schedule {options.schedule} cannot go with minutes: it has to know its end; take inverse_sqrt or constant"
        )


@dataclasses.dataclass(frozen=True)
class PairOptions:
    """Everything that decides a run of pairs; each kind of them has its own columns, and defaults.

    Attributes:
        command: Name of the command.
        own: Fields by which a run of the command is known.
        example: Examples of what `dataset` may be, for a message.
        lengths: Longest source and longest target in tokens of a network from nothing, where no flag says.
        rate: Its highest learning rate, where no flag says; None: that of `compile`.

    Raises:
        TransformerError: A number out of range, or an unknown name, before any data are read.
    """

    command: ClassVar[str]
    own: ClassVar[tuple[str, ...]]
    example: ClassVar[str]
    lengths: ClassVar[tuple[int, int]]
    rate: ClassVar[float | None] = None

    # Data
    dataset: str | None = option(None, "The pairs.")
    validation_fraction: float = option(0.05, "Fraction of the pairs to validate on, where there is no such split.")
    test_fraction: float = option(0.05, "Fraction of the pairs to test on, where there is no such split.")
    train_examples: int | None = option(None, "Train on this many pairs, chosen by --seed.", least=2)

    # Model
    family: str = option("transformer", "Family whose defaults the network has.", choices=tuple(FAMILIES))
    vocabulary_size: int = option(
        8000, "Tokens of the vocabulary of both sides, learned from the training pairs.", least=261
    )
    num_layers: int = option(4, "Blocks of the encoder, and of the decoder.", least=1)
    hidden_dim: int = option(128, "Width of the residual stream.", least=1)
    num_heads: int = option(4, "Attention heads.", least=1)
    intermediate_dim: int = option(256, "Width inside the feed-forward layers.", least=1)
    normalize_first: bool = option(True, "Norms before the sublayers; --nonormalize_first has them behind, as in 2017.")
    share_vocabulary: bool = option(
        True, "One vocabulary and one table of tokens for both sides; --noshare_vocabulary learns one for each."
    )
    dropout: float = option(0.3, "Dropout rate; few pairs need much.")
    sequence_length: int | None = option(None, "Longest source in tokens; longer ones are cut.", least=3)
    target_length: int | None = option(None, "Longest target in tokens; longer ones are cut.", least=2)

    # Training
    epochs: int | None = option(
        None, "Passes over the training pairs; default: 30, where no --minutes are given.", least=1
    )
    minutes: float | None = option(None, "Train for so long, by the clock, to the end of an epoch.")
    batch_size: int = option(128, "Pairs a batch, over all replicas.", least=1)
    learning_rate: float | None = option(
        None, "Highest rate; default: 4e-3 from nothing, a tenth of it with --init_from or --preset."
    )
    schedule: str = option("inverse_sqrt", "inverse_sqrt, linear, cosine, polynomial, exponential or constant.")
    warmup: int = option(1000, "Updates in which the rate rises.", least=0)
    label_smoothing: float = option(0.1, "Fraction of a token's weight spread over all.")
    strategy: str = option(
        "average:0.25", f"How it is trained: full, or {STRATEGIES}; average:0.25 ends with an average of the weights."
    )
    mixed_precision: str = like(ClassificationOptions, "mixed_precision")
    distribution: str = like(ClassificationOptions, "distribution")
    seed: int = like(ClassificationOptions, "seed")
    init_from: str | None = option(None, "The folder of a finished run to go on with; --dataset names the new pairs.")
    preset: str | None = option(
        None, "A preset with an encoder and a decoder to go on with, such as a folder of a task."
    )

    # Writing
    num_beams: int = option(4, "Texts that go on at each token of a search; 1: the likeliest token each time.", least=1)
    length_penalty: float = option(1.0, "Above 0 for longer texts, below for shorter ones.")

    output_dir: str | None = like(ClassificationOptions, "output_dir")
    overwrite: bool = like(ClassificationOptions, "overwrite")

    def check(self) -> None:
        """Raise a `TransformerError` for a number out of range or flags that contradict each other."""
        check_options(self)
        if not self.dataset:
            raise TransformerError(f"dataset must be given: {self.example}")
        if self.init_from is not None and self.preset is not None:
            raise TransformerError("preset cannot go with init_from: both say which weights to begin with; pass one")
        check_training(self)
        check_number("label_smoothing", self.label_smoothing, "at least 0 and below 1", lambda value: 0 <= value < 1)
        if self.hidden_dim % self.num_heads:
            raise TransformerError(
                f"hidden_dim must be a multiple of num_heads; got {self.hidden_dim} and {self.num_heads}"
            )

    @property
    def dtype(self) -> str | None:
        """The Keras dtype policy."""
        return PRECISIONS[self.mixed_precision]

    def as_config(self) -> dict[str, Any]:
        """Every setting, as a run's folder keeps it."""
        return dataclasses.asdict(self)

    @property
    def run_name(self) -> str:
        """Name of a run where no folder is given."""
        raise NotImplementedError

    @property
    def longest(self) -> dict[str, int]:
        """Arguments of the task: the lengths that flags say, or what a network from nothing has."""
        given = {"sequence_length": self.sequence_length, "target_length": self.target_length}
        if self.init_from is None and self.preset is None:
            return {name: value or usual for (name, value), usual in zip(given.items(), self.lengths, strict=True)}
        return {name: value for name, value in given.items() if value is not None}

    @property
    def highest_rate(self) -> float | None:
        """The learning rate that a flag says, or the command has for a network from nothing; None: that of `compile`."""
        from_nothing = self.init_from is None and self.preset is None
        return self.learning_rate or (self.rate if from_nothing else None)

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """The options of a run, from what its folder keeps."""
        known = {field.name for field in dataclasses.fields(cls)}
        return cls(**{name: value for name, value in config.items() if name in known})

    @classmethod
    def open_run(cls, path: Any, argument: str) -> RunFolder:
        """A finished run of the command.

        Raises:
            TransformerError: As `RunFolder.open`, or it is a run of another command; the message begins with the argument.
        """
        run = RunFolder.open(path, argument=argument)
        if not run.config.keys() >= set(cls.own):
            raise TransformerError(
                f"{argument} must be the folder of a run of {cls.command}; {run.path} is of another command"
            )
        return run
