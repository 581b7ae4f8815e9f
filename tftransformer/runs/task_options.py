"""Options that the runs of all tasks over labelled texts have, and how those of a finished run are found again.

They are checked before anything is read, and before Keras and TensorFlow are loaded.
"""

import dataclasses
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

from tftransformer.checkpoints.native_format import FORMER_NAMES
from tftransformer.data.augmentation.pipeline import Augmentation
from tftransformer.data.readers.text_file import existing_path
from tftransformer.distribution.strategies import check_strategy
from tftransformer.errors import TransformerError
from tftransformer.finetuning.activation_store import check_activation_cache
from tftransformer.finetuning.arguments import check_augmented, check_number, check_schedule, check_warmup
from tftransformer.finetuning.methods import METHODS
from tftransformer.finetuning.recipe import BATCH_SIZE
from tftransformer.finetuning.strategy import Strategy, parse_strategy
from tftransformer.runs.flags import check_options, option
from tftransformer.runs.recipes import strategy_of
from tftransformer.runs.run_folder import RunFolder

# Data sets and presets that are no paths.
NAMED = re.compile(r"sample|sample_rated|auto|off|\w+://.*|tfds:.*")
_EMBEDDED = Path(__file__).resolve().parents[1] / "presets"
# For help. What number a method has where none is given is known to the methods, some of which load Keras.
STRATEGIES = f"{', '.join(METHODS)} (with its number, such as freeze:8 or lora:8)"
# Options that say which data are meant.
SOURCES = ("dataset", "train_path", "validation_path", "test_path")
PRECISIONS = {"none": None, "bfloat16": "mixed_bfloat16", "float16": "mixed_float16"}
# Options that only updates of a whole model follow.
_ABOUT_UPDATES = (
    "learning_rate", "schedule", "warmup", "weight_decay", "label_smoothing", "gradient_accumulation", "augmentation",
    "early_stopping",
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class TaskOptions:
    """Everything that decides a run of any task; flags and their help are made from the fields.

    Attributes:
        command: Name of the command.
        columns: Names of the options that say how the columns of the data are called.

    Raises:
        TransformerError: A number out of range, or an unknown name, before any data are read.
    """

    command: ClassVar[str]
    columns: ClassVar[tuple[str, ...]] = ()

    # Data
    dataset: str = option("sample", "A file, a folder with one file a split, 'sample', or 'tfds:NAME'.")
    train_path: str | None = option(
        None, "A file with the training rows, where names do not tell the splits apart.", argument="train", prose=True
    )
    validation_path: str | None = option(None, "A file with the validation rows.", argument="validation", prose=True)
    test_path: str | None = option(None, "A file with the test rows.", argument="test", prose=True)
    train_examples: int | None = option(None, "Train on this many rows, chosen by --seed.", least=2)
    drop_leaked: bool = option(False, "Drop training rows whose text stands in validation or test too.")

    # Model
    preset: str = option(
        "bert_12x192_en_uncased",
        "An embedded preset, a keras-nlp name or handle, a Hugging Face folder, or a folder this project saved.",
    )
    pretrained: bool = option(True, "Load the preset's weights; --nopretrained trains from random numbers.")
    strategy: str | None = option(
        None,
        f"How it is fine-tuned: {STRATEGIES}, or several with + between; default: what the recipe says of so many rows, or "
        "--freeze_layers, from a head that is solved for.",
    )
    freeze_layers: int = option(
        0, "Freeze the embeddings and this many blocks; 0 trains everything.", least=0, argument="layers"
    )
    extra_blocks: int = option(0, "Fresh Transformer blocks between the encoder and the head.", least=0)
    sequence_length: int | None = option(None, "Longest text in tokens; default: the encoder's limit.", least=3)

    # Training
    epochs: int | None = option(
        None,
        "Passes over the training rows; default: the recipe's: the preset's recommendation, else 3, and more where these are fewer "
        "than 250 updates; none where few rows a label are brought together.",
        least=1,
    )
    batch_size: int = option(BATCH_SIZE, "Rows a batch, over all replicas.", least=1)
    learning_rate: float | None = option(
        None,
        "Highest rate of pretrained weights (fresh blocks and the head have at least 5e-4); default: the strategy's, "
        "or the preset's recommendation, else 1e-4 for encoders narrower than 512 and 2e-5 for others.",
    )
    schedule: str = option("linear", "linear, cosine, polynomial, exponential or constant.")
    warmup: float | None = option(None, "Fraction of the run in which the rate rises; default: 0.1, constant: 0.")
    weight_decay: float = option(0.01, "Decoupled decay, not on biases and norms.")
    gradient_accumulation: int = option(1, "Batches to an update.", least=1, argument="gradient_accumulation_steps")
    mixed_precision: str = option("none", "none, bfloat16 or float16.", choices=PRECISIONS)
    distribution: str = option("default", "default, mirrored (all GPUs of this machine) or tpu.")
    early_stopping: int = option(
        0,
        "Stop after this many epochs without a better validation macro-F1 and keep the best weights; 0: never.",
        least=0,
    )
    activation_cache: str = option(
        "auto",
        "What is frozen runs once, and further epochs, trials and folds train from its outputs: auto, off, or a "
        "folder to keep them in.",
    )
    seed: int = option(0, "Random seed of weights, order, splits and subsets.", least=0)
    output_dir: str | None = option(None, "Folder of the run; default: the next free runs/NAME-N.")
    overwrite: bool = option(False, "Replace a finished or different run in --output_dir.")

    # Options that may name files or folders which are read.
    _PATHS: ClassVar[tuple[str, ...]] = ("preset", *SOURCES, "activation_cache")

    def __post_init__(self) -> None:
        check_options(self)
        self.fine_tuning()
        for name, rule, holds in (
            ("learning_rate", "above 0 and at most 1", lambda value: 0 < value <= 1),
            ("weight_decay", "at least 0", lambda value: value >= 0),
            ("label_smoothing", "at least 0 and below 1", lambda value: 0 <= value < 1),
        ):
            if (value := getattr(self, name, None)) is not None:
                check_number(name, value, rule, holds)
        if self.warmup is not None:
            check_warmup(self.warmup)
        check_schedule(self.schedule)
        check_strategy(self.distribution)
        check_activation_cache(self.activation_cache)

    def check(self) -> None:
        """Refuse what can be seen on the disk before anything is read.

        Raises:
            TransformerError: The data set, or a file of a split, does not exist; or `train_path` beside a file.
        """
        folder = Path()
        if not NAMED.fullmatch(self.dataset):
            folder = existing_path(self.dataset, "dataset")
        if folder.is_file() and self.train_path is not None:
            raise TransformerError(
                f"dataset must be a folder where train_path names a file of it; got the file {folder}"
            )
        for name in ("train_path", "validation_path", "test_path"):
            path = getattr(self, name)
            if path is not None and not (folder / path).exists():
                existing_path(path, name)

    @property
    def data_name(self) -> str:
        """Name of a run on the data."""
        source = self.train_path or self.dataset
        return Path(source.removeprefix("tfds:").rstrip("/")).stem or "run"

    @property
    def is_sample(self) -> bool:
        """True if `dataset` is the embedded sample, its default."""
        return self.dataset == type(self).__dataclass_fields__["dataset"].default

    @property
    def data_paths(self) -> dict[str, str | None]:
        """The arguments of a loader that say where the data lie: `source`, `train`, `validation` and `test`."""
        return {
            "source": None if self.train_path and self.is_sample else self.dataset,
            **{name.removesuffix("_path"): getattr(self, name) for name in SOURCES[1:]},
        }

    def compile_arguments(self) -> dict[str, Any]:
        """Arguments of `compile` beside the rate."""
        names = {"gradient_accumulation_steps": "gradient_accumulation"}
        return {name: getattr(self, names.get(name, name)) for name in self._of_compile}

    _of_compile: ClassVar[tuple[str, ...]] = ("schedule", "warmup", "weight_decay", "gradient_accumulation_steps")

    def fit_arguments(self) -> dict[str, Any]:
        """Arguments of `fit` beside the data, the epochs and the activation cache."""
        return {"batch_size": self.batch_size, "augmentation": self.build_augmentation()}

    def build_augmentation(self) -> Augmentation | None:
        """Return the augmentation of the training texts; None where they stay as they are."""
        return None

    @property
    def dtype(self) -> str | None:
        """The Keras dtype policy."""
        return PRECISIONS[self.mixed_precision]

    # How it is fine-tuned.

    @property
    def has_strategy(self) -> bool:
        """True if a strategy was asked for; without one a model trains what it trained when it was saved."""
        return self.strategy is not None or bool(self.freeze_layers)

    @property
    def about_updates(self) -> list[str]:
        """Names of the options that say how updates are made, of those that are not as by default."""
        fields = self.__dataclass_fields__
        known = [name for name in _ABOUT_UPDATES if name in fields]
        return [name for name in known if getattr(self, name) not in (fields[name].default, (), [])]

    def fine_tuning(self) -> Strategy:
        """Return the strategy to fine-tune by: `strategy`, or what `freeze_layers` means."""
        chosen = {"strategy": self.strategy, "freeze_layers": self.freeze_layers or None}
        given = {name: value for name, value in chosen.items() if value is not None}
        return strategy_of(given) or parse_strategy("full")

    # To run.json and back.

    def as_config(self) -> dict[str, Any]:
        """The options for run.json: what lies on the disk by absolute paths, so that the data are found again from any
        working directory."""
        return {"command": self.command, **with_absolute_paths(dataclasses.asdict(self), self._PATHS)}

    @classmethod
    def of_run(cls, run: RunFolder) -> Self:
        """The options of a run.

        Raises:
            TransformerError: It is a run of another command, or what its run.json says is damaged.
        """
        config = {FORMER_NAMES.get(name, name): value for name, value in run.config.items()}
        # Runs of texts with labels, as long as there were no others, did not say so.
        if config.get("command", cls.command) != cls.command:
            raise TransformerError(f"{run.path} must hold a run of {cls.command}; it holds one of {config['command']}")
        known = {field.name for field in dataclasses.fields(cls)}
        if not {"dataset", "preset", "seed", "batch_size"} <= set(config):
            raise TransformerError(f"{run.path} must hold a run of {cls.command}; its run.json names no data set")
        try:
            return cls(**{name: value for name, value in config.items() if name in known})
        except (TypeError, TransformerError) as error:
            raise TransformerError(f"{run.path}: the options in its run.json are damaged: {error}") from None

    def to_evaluate(self, given: Mapping[str, Any]) -> Self | None:
        """The options of data to evaluate the run of these options on.

        Args:
            given: Options by name. Those that do not say which data are meant are left aside; columns are called as those
                of the run unless they are given too.

        Returns:
            Options of which the data are read; None where no data are given: the run's own test rows.
        """
        own = (*SOURCES, *self.columns)
        given = {name: given[name] for name in (*own, "seed") if name in given}
        if not set(own) & set(given):
            return None
        kept = self.columns if set(SOURCES) & set(given) else own
        made = type(self)(**{**self._kept_columns(kept, given), "seed": self.seed, **given})
        made.check()
        return made

    def _kept_columns(self, names: Iterable[str], given: Mapping[str, Any]) -> dict[str, Any]:
        """Options of the run that say how columns are called, where others are given."""
        return {name: getattr(self, name) for name in names}


@dataclasses.dataclass(frozen=True)
class TextOptions(TaskOptions):
    """Everything that decides a run of a task over whole texts, or pairs of them."""

    text_columns: Sequence[str] | None = option(
        None, "The column of the text, or the two of a pair; by name, or by number from 1."
    )
    pooling: str | None = option(
        None, "From tokens to one vector; default: the preset's.", choices=("cls", "mean", "max")
    )
    augmentation: Sequence[str] | str | None = option(
        None,
        "Train on changed copies of the texts too, drawn anew in each epoch: a list of synonyms, swap, delete and "
        "insert, each with its rate, such as swap:0.1,delete:0.1.",
        argument="operation",
    )
    augmentation_copies: int = option(
        1, "Copies of each text; 0: a copy takes the text's place.", least=0, argument="copies"
    )
    augmentation_synonyms: str = option(
        "wordnet",
        "Where synonyms come from: wordnet (needs nltk and its WordNet), embeddings (the encoder's own nearest words) "
        "or wordnet_or_embeddings.",
        argument="synonyms",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.build_augmentation() is not None:
            check_augmented(self.fine_tuning().methods)

    def build_augmentation(self) -> Augmentation | None:
        """Return the augmentation of the training texts; None where they stay as they are."""
        if not self.augmentation:
            return None
        given = [self.augmentation] if isinstance(self.augmentation, str) else self.augmentation
        return Augmentation(
            *given, copies=self.augmentation_copies, seed=self.seed, synonyms=self.augmentation_synonyms
        )


def with_absolute_paths(options: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    """Options in which what lies on the disk is named by its absolute path.

    Args:
        options: By name. A path inside the folder `dataset` stays relative to it, as it is read.
        names: Names of options that may be paths; what does not exist, such as a name on a hub, stays as it is.

    Example:
        >>> with_absolute_paths({"dataset": "sample", "output_dir": "runs/a"}, ["dataset"])
        {'dataset': 'sample', 'output_dir': 'runs/a'}
    """
    config = dict(options)
    dataset = Path(options.get("dataset") or "").expanduser()
    for name in names:
        value = options.get(name)
        if value is None or NAMED.fullmatch(value) or (name == "preset" and (_EMBEDDED / value).is_dir()):
            continue
        if name.endswith("_path") and dataset.is_dir() and options.get("dataset") and (dataset / value).exists():
            continue
        path = Path(value).expanduser()
        if path.exists() or name == "activation_cache":  # which a first run makes
            config[name] = os.path.abspath(path)
    return config
