"""Options of runs, checked before anything is read, and before Keras and TensorFlow are loaded."""

import dataclasses
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from tftransformer.checkpoints.own import FORMER_NAMES
from tftransformer.data.augmentation.pipeline import Augmentation
from tftransformer.data.readers.text_file import existing_path
from tftransformer.data.task_sampling import DEFAULT_SAMPLING, batch_fractions
from tftransformer.distribution.strategies import check_strategy
from tftransformer.errors import TransformerError, near_miss
from tftransformer.finetuning.activation_store import check_activation_cache
from tftransformer.finetuning.arguments import check_augmented, check_number, check_schedule, check_warmup
from tftransformer.finetuning.balancing import class_weights
from tftransformer.finetuning.methods import METHODS
from tftransformer.finetuning.recipe import BATCH_SIZE, EPOCHS
from tftransformer.finetuning.strategy import Strategy, parse_strategy
from tftransformer.runs.flags import check_options, like, option
from tftransformer.runs.recipes import check_minutes, check_recipe, strategy_of, with_learning_rate
from tftransformer.runs.run_folder import RunFolder, check_free

# Data sets and presets that are no paths.
NAMED = re.compile(r"sample|auto|off|\w+://.*|tfds:.*")
_EMBEDDED = Path(__file__).resolve().parents[1] / "presets"
# For help. What number a method has where none is given is known to the methods, some of which load Keras.
STRATEGIES = f"{', '.join(METHODS)} (with its number, such as freeze:8 or lora:8)"
# Options that say which data are meant, and how their columns are called.
SOURCES = ("dataset", "train_path", "validation_path", "test_path")
COLUMNS = ("text_columns", "label_column", "label_columns", "label_delimiter")
PRECISIONS = {"none": None, "bfloat16": "mixed_bfloat16", "float16": "mixed_float16"}


# Options that only updates of a whole model follow.
_ABOUT_UPDATES = (
    "learning_rate", "schedule", "warmup", "weight_decay", "label_smoothing", "gradient_accumulation", "augmentation",
    "early_stopping",
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class ClassificationOptions:
    """Everything that decides a run of `classify`; flags and their help are made from the fields.

    Raises:
        TransformerError: A number out of range, or an unknown name, before any data are read.
    """

    # Data
    dataset: str = option(
        "sample", "A CSV, TSV, JSONL or Parquet file, a folder with one file a split, 'sample', or 'tfds:NAME'."
    )
    train_path: str | None = option(
        None, "A file with the training rows, where names do not tell the splits apart.", argument="train", prose=True
    )
    validation_path: str | None = option(None, "A file with the validation rows.", argument="validation", prose=True)
    test_path: str | None = option(None, "A file with the test rows.", argument="test", prose=True)
    text_columns: Sequence[str] | None = option(
        None, "The column of the text, or the two of a pair; by name, or by number from 1."
    )
    label_column: str | None = option(None, "The column of the label.")
    label_columns: Sequence[str] | None = option(None, "Several labels a text: a column of 0 and 1 for each.")
    label_delimiter: str | None = option(None, "Several labels a text: what separates them in the label column.")
    train_examples: int | None = option(None, "Train on this many rows, chosen by --seed.", least=2)
    drop_leaked: bool = option(False, "Drop training rows whose text stands in validation or test too.")
    check_labels: bool = option(
        False, "List training rows whose labels are probably wrong, by a linear model on the encoder's vectors."
    )

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
    pooling: str | None = option(
        None, "From tokens to one vector; default: the preset's.", choices=("cls", "mean", "max")
    )
    sequence_length: int | None = option(None, "Longest text in tokens; default: the encoder's limit.", least=3)

    # Training
    epochs: int | None = option(
        None,
        "Passes over the training rows; default: the recipe's: the preset's advice, else 3, and more where these are fewer "
        "than 250 updates; none where few rows a label are brought together.",
        least=1,
    )
    minutes: float | None = option(
        None,
        "Minutes that the run may take once its data are read: method, rate and number of updates are chosen by trials on "
        "validation rows, as many as there is time for.",
    )
    test_all: bool = option(
        False, "--minutes: report on all test rows, though the run may take longer than the minutes then."
    )
    batch_size: int = option(BATCH_SIZE, "Rows a batch, over all replicas.", least=1)
    learning_rate: float | None = option(
        None,
        "Highest rate of pretrained weights (fresh blocks and the head have at least 5e-4); default: the strategy's, "
        "or the preset's advice, else 1e-4 for encoders narrower than 512 and 2e-5 for others.",
    )
    schedule: str = option("linear", "linear, cosine, polynomial, exponential or constant.")
    warmup: float | None = option(None, "Fraction of the run in which the rate rises; default: 0.1, constant: 0.")
    weight_decay: float = option(0.01, "Decoupled decay, not on biases and norms.")
    label_smoothing: float = option(0.0, "Fraction of the label's weight spread over all classes.")
    gradient_accumulation: int = option(1, "Batches to an update.", least=1, argument="gradient_accumulation_steps")
    class_weight: str = option("none", "none or balanced.")
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
    seed: int = option(0, "Random seed of weights, order, splits and subsets.", least=0)
    init_from: str | None = option(
        None, "The folder of a finished run to go on with; --dataset or --train_path names the new rows."
    )
    add_labels: bool = option(False, "--init_from: new rows may have labels that the run does not know.")
    output_dir: str | None = option(None, "Folder of the run; default: the next free runs/NAME-N.")
    overwrite: bool = option(False, "Replace a finished or different run in --output_dir.")

    # Options that may name files or folders which are read.
    _PATHS: ClassVar[tuple[str, ...]] = ("preset", *SOURCES, "init_from", "activation_cache")

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

    def as_config(self) -> dict[str, Any]:
        """The options for run.json: what lies on the disk by absolute paths, so that the data are found again from any
        working directory."""
        return with_absolute_paths(dataclasses.asdict(self), self._PATHS)

    def build_augmentation(self) -> Augmentation | None:
        """What changes the training texts; None where they stay."""
        if not self.augmentation:
            return None
        given = [self.augmentation] if isinstance(self.augmentation, str) else self.augmentation
        return Augmentation(
            *given, copies=self.augmentation_copies, seed=self.seed, synonyms=self.augmentation_synonyms
        )

    @property
    def has_strategy(self) -> bool:
        """Whether a strategy was asked for; without one a model trains what it trained when it was saved."""
        return self.strategy is not None or bool(self.freeze_layers)

    @property
    def about_updates(self) -> list[str]:
        """Names of the options that say how updates are made, of those that are not as by default."""
        fields = self.__dataclass_fields__
        return [name for name in _ABOUT_UPDATES if getattr(self, name) not in (fields[name].default, (), [])]

    def fine_tuning(self) -> Strategy:
        """How the model is fine-tuned: `strategy`, or what `freeze_layers` means."""
        chosen = {"strategy": self.strategy, "freeze_layers": self.freeze_layers or None}
        given = {name: value for name, value in chosen.items() if value is not None}
        return strategy_of(given) or parse_strategy("full")

    def __post_init__(self) -> None:
        check_options(self)
        methods = self.fine_tuning().methods
        if self.build_augmentation() is not None:
            check_augmented(methods)
        if self.add_labels and self.init_from is None:
            raise TransformerError("add_labels goes with init_from: labels are added to those of a finished run")
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
        check_activation_cache(self.activation_cache)
        class_weights(self.class_weight, ["any"])  # what it is told, not what it makes of the data
        if self.test_all and self.minutes is None:
            raise TransformerError("test_all goes with minutes, within which a part of the test rows may have to do")
        if self.minutes is not None:
            check_minutes(self.minutes, self.fine_tuning().methods)
            for name in ("epochs", "early_stopping"):
                if getattr(self, name):
                    raise TransformerError(
                        f"{name} cannot go with minutes, which decide how long is trained; got {getattr(self, name)}"
                    )


@dataclasses.dataclass(frozen=True)
class DocumentOptions(ClassificationOptions):
    """Everything that decides a run of `classify_documents`, in which `sequence_length` is that of a chunk."""

    max_chunks: int = option(8, "Most chunks of a document; what lies behind them is not read.", least=1)
    overlap: int = option(0, "Tokens that neighbouring chunks share.", least=0)
    chunk_blocks: int = option(0, "Transformer blocks over the chunks' vectors, with positions.", least=0)
    test_examples: int | None = option(None, "Test on this many rows, chosen by --seed.", least=1)
    against_truncation: bool = option(False, "Fine-tune a classifier of the first chunk alone, too, and compare.")

    @property
    def truncated_dir(self) -> str | None:
        """Folder of the run that reads the first chunk alone; None: the next free one."""
        return f"{self.output_dir}-truncated" if self.output_dir else None

    def check(self) -> None:
        super().check()
        check_free(self.output_dir, self.overwrite)
        if self.against_truncation:
            check_free(self.truncated_dir, self.overwrite)


@dataclasses.dataclass(frozen=True)
class CustomOptions(ClassificationOptions):
    """Everything that decides a run of `custom_model`; those of `ClassificationOptions` decide the fine-tuning."""

    weights: str | None = option(None, "In place of --preset: a weights file, with --config and --vocabulary.")
    vocabulary: str | None = option(None, "For --weights: a vocab.txt, or a folder with a tokenizer's files.")
    config: str | None = option(None, "A JSON file with fields of TransformerConfig.")
    layers: str | None = option(
        None, "Blocks to keep: 6 (the first six), last:6, every_second, or numbers from 0, as in 0,5,11."
    )
    max_sequence_length: int | None = option(None, "Positions; default: the config's, else the checkpoint's.")
    positions: str = option("repeated", "How to make more positions.", choices=("repeated", "interpolated"))
    new_tokens: Sequence[str] = option((), "Words for the end of the vocabulary, as normalised text has them.")
    model_dir: str | None = option(None, "Folder of the model before training; default: presets/custom-N.")

    _PATHS: ClassVar[tuple[str, ...]] = (*ClassificationOptions._PATHS, "config", "weights", "vocabulary")

    def check(self) -> None:
        super().check()
        for name in ("config", "weights", "vocabulary"):
            if (path := getattr(self, name)) is not None:
                existing_path(path, name)
        check_free(self.output_dir, self.overwrite)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.weights is None and self.vocabulary is not None:
            raise TransformerError("vocabulary goes with weights; the vocabulary of a preset is its own")
        if self.weights is not None and (self.config is None or self.vocabulary is None):
            raise TransformerError("weights, a bare file, need a config and a vocabulary beside them")


@dataclasses.dataclass(frozen=True)
class MultiTaskOptions:
    """Everything that decides a run of `multi_task`; flags and their help are made from the fields."""

    # Data
    data: str | None = option(
        None, "A folder with a folder or file for each task; default: two tasks made of the sample."
    )
    tasks: Sequence[str] | None = option(None, "Names of tasks in --data; default: sst2,ag_news,mrpc.")
    train_examples: int | None = option(None, "Most training rows of a task, chosen by --seed.", least=2)
    test_examples: int | None = option(None, "Most test rows of a task, likewise.", least=1)
    sequence_length: int | None = like(ClassificationOptions, "sequence_length")

    # Model
    preset: str = like(ClassificationOptions, "preset")
    strategy: str = option("full", f"How all models alike are fine-tuned: {STRATEGIES}, or several with + between.")

    # Training
    alone: bool = option(True, "Train each task alone, too; --noalone trains together only.")
    sampling: str = option(DEFAULT_SAMPLING, "How tasks share the batches: proportional:POWER of their size, or equal.")
    epochs: int | None = option(
        None,
        "As many batches as passes over all rows take; default: the preset's advice, else 3, and more where these "
        "are fewer than 250 updates.",
    )
    batch_size: int = like(ClassificationOptions, "batch_size")
    learning_rate: float | None = like(ClassificationOptions, "learning_rate")
    seed: int = like(ClassificationOptions, "seed")
    output_dir: str | None = option(None, "Folder of the run; default: the next free runs/multi_task-N.")
    overwrite: bool = like(ClassificationOptions, "overwrite")

    def check(self) -> None:
        """Refuse what can be seen on the disk before anything is read."""
        if self.data is not None:
            existing_path(self.data, "data")
        check_free(self.output_dir, self.overwrite)

    def as_config(self) -> dict[str, Any]:
        """The options for run.json, what lies on the disk by absolute paths."""
        return with_absolute_paths(dataclasses.asdict(self), ("preset", "data"))

    def __post_init__(self) -> None:
        check_options(self)
        if self.tasks and self.data is None:
            raise TransformerError(
                f"tasks goes with data, a folder that holds them; got {', '.join(self.tasks)} without it"
            )
        check_recipe(self.recipe({}))
        batch_fractions(self.sampling, {"one": 1, "other": 1})

    def recipe(self, advice: Mapping[str, Any]) -> dict[str, Any]:
        """How every model of the run is trained: as stated, else as strategy and preset advise."""
        recipe = {"strategy": self.strategy, "batch_size": self.batch_size}
        recipe["epochs"] = advice.get("epochs", EPOCHS) if self.epochs is None else self.epochs
        if self.learning_rate is not None:
            recipe["learning_rate"] = self.learning_rate
        return with_learning_rate(recipe, advice)


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


# The options of a finished run, and those that follow from them: to go on with it, and to evaluate it.

# What the run's model decides.
_FIXED = ("preset", "pretrained", "pooling", "extra_blocks")
# What a run says of its own rows and folder, not of how it trains.
_OWN = (*SOURCES, "train_examples", "init_from", "add_labels", "output_dir", "overwrite")


def options_of(run: RunFolder, over_chunks: bool = True) -> ClassificationOptions:
    """The options of a classification run: `DocumentOptions` of one over chunks of documents, where that will do."""
    config = {FORMER_NAMES.get(name, name): value for name, value in run.config.items()}
    of_documents = DocumentOptions.__dataclass_fields__.keys() - ClassificationOptions.__dataclass_fields__.keys()
    kind = DocumentOptions if of_documents & config.keys() else ClassificationOptions
    known = {field.name for field in dataclasses.fields(kind)}
    if not {"dataset", "preset", "seed", "batch_size"} <= set(config):
        raise TransformerError(f"{run.path} must hold a classification run; its run.json names no data set")
    if kind is DocumentOptions and not over_chunks:
        raise TransformerError(f"{run.path} must hold a run of classify.py; it holds one over chunks of documents")
    try:
        return kind(**{name: value for name, value in config.items() if name in known})
    except (TypeError, TransformerError) as error:
        raise TransformerError(f"{run.path}: the options in its run.json are damaged: {error}") from None


def evaluation_options(run: str | Path, given: Mapping[str, Any]) -> ClassificationOptions | None:
    """The data to evaluate a finished run on: what is given, its columns called as the run's unless they are given too.

    Args:
        run: Folder of the run.
        given: Options by name. Those that do not say which data are meant are left aside.

    Returns:
        Options of which the data are read; None where no data are given: the run's own test rows.

    Example:
        >>> evaluation_options("runs/tickets-1", {"dataset": "may.csv"})  # doctest: +SKIP
    """
    own = options_of(RunFolder.open_model(run))
    given = {name: given[name] for name in (*SOURCES, *COLUMNS, "seed") if name in given}
    if not {*SOURCES, *COLUMNS} & set(given):
        return None
    kept = COLUMNS if set(SOURCES) & set(given) else (*SOURCES, *COLUMNS)
    kept = {name: getattr(own, name) for name in (*kept, "seed")}
    if given.get("label_column") or given.get("label_columns"):
        kept["label_column"] = kept["label_columns"] = None
    options = ClassificationOptions(**{**kept, **given})
    options.check()
    return options


def continued_options(run: str | Path, given: Mapping[str, Any]) -> ClassificationOptions:
    """The options with which to go on with a run: the run's own but for those that are given.

    Args:
        run: Folder of the run.
        given: Options by name. `dataset` or `train_path` has to be among them: the new rows.

    Example:
        >>> train(continued_options("runs/tickets-1", {"dataset": "may.csv", "epochs": 1}))  # doctest: +SKIP
    """
    old = options_of(RunFolder.open(run, argument="init_from"), over_chunks=False)
    names = [field.name for field in dataclasses.fields(old)]
    for name in given:
        if name not in names:
            raise TransformerError(f"there is no option {name!r}{near_miss(name, names)}")
        if name in _FIXED:
            raise TransformerError(
                f"{name} does not go with init_from: the model is that of {run}, as it is; got {given[name]!r}"
            )
    if not given.get("dataset") and not given.get("train_path"):
        raise TransformerError("init_from needs new rows: name them with dataset or train_path")
    kept = {name: getattr(old, name) for name in names if name not in _OWN}
    if any(method.inserted for method in old.fine_tuning().methods):
        # The model has them, and what was frozen for them stays so.
        kept["strategy"] = None
    return ClassificationOptions(**{**kept, **given, "init_from": str(run)})
