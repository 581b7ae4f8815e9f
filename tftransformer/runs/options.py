"""Options of runs that classify texts, checked before Keras and TensorFlow are loaded."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from tftransformer.data.readers.text_file import existing_path
from tftransformer.data.task_sampling import DEFAULT_SAMPLING, batch_fractions
from tftransformer.errors import TransformerError, near_miss
from tftransformer.finetuning.balancing import class_weights
from tftransformer.finetuning.recipe import EPOCHS
from tftransformer.runs.flags import check_options, like, option
from tftransformer.runs.recipes import check_minutes, check_recipe, with_learning_rate
from tftransformer.runs.run_folder import RunFolder, check_free
from tftransformer.runs.task_options import SOURCES, STRATEGIES, TextOptions, with_absolute_paths

# Options that say how the columns of classified texts are called.
COLUMNS = ("text_columns", "label_column", "label_columns", "label_delimiter")


@dataclasses.dataclass(frozen=True)
class ClassificationOptions(TextOptions):
    """Everything that decides a run of `classify`; flags and their help are made from the fields.

    Raises:
        TransformerError: A number out of range, or an unknown name, before any data are read.
    """

    command = "classify"
    columns = COLUMNS

    dataset: str = option(
        "sample", "A CSV, TSV, JSONL or Parquet file, a folder with one file a split, 'sample', or 'tfds:NAME'."
    )
    label_column: str | None = option(None, "The column of the label.")
    label_columns: Sequence[str] | None = option(None, "Several labels a text: a column of 0 and 1 for each.")
    label_delimiter: str | None = option(None, "Several labels a text: what separates them in the label column.")
    check_labels: bool = option(
        False, "List training rows whose labels are probably wrong, by a linear model on the encoder's vectors."
    )
    minutes: float | None = option(
        None,
        "Minutes that the run may take once its data are read: method, rate and number of updates are chosen by trials on "
        "validation rows, as many as there is time for.",
    )
    test_all: bool = option(
        False, "--minutes: report on all test rows, though the run may take longer than the minutes then."
    )
    label_smoothing: float = option(0.0, "Fraction of the label's weight spread over all classes.")
    class_weight: str = option("none", "none or balanced.")
    init_from: str | None = option(
        None, "The folder of a finished run to go on with; --dataset or --train_path names the new rows."
    )
    add_labels: bool = option(False, "--init_from: new rows may have labels that the run does not know.")

    _PATHS: ClassVar[tuple[str, ...]] = (*TextOptions._PATHS, "init_from")
    _of_compile = (*TextOptions._of_compile, "label_smoothing")

    def fit_arguments(self) -> dict[str, Any]:
        return {**super().fit_arguments(), "class_weight": None if self.class_weight == "none" else self.class_weight}

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.add_labels and self.init_from is None:
            raise TransformerError("add_labels goes with init_from: labels are added to those of a finished run")
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

    def _kept_columns(self, names: Iterable[str], given: Mapping[str, Any]) -> dict[str, Any]:
        kept = super()._kept_columns(names, given)
        if given.get("label_column") or given.get("label_columns"):
            kept["label_column"] = kept["label_columns"] = None
        return kept


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
        "As many batches as passes over all rows take; default: the preset's recommendation, else 3, and more where these "
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

    def recipe(self, hparams: Mapping[str, Any]) -> dict[str, Any]:
        """Return the recipe of every model of the run: as stated, else as strategy and preset advise."""
        recipe = {"strategy": self.strategy, "batch_size": self.batch_size}
        recipe["epochs"] = hparams.get("epochs", EPOCHS) if self.epochs is None else self.epochs
        if self.learning_rate is not None:
            recipe["learning_rate"] = self.learning_rate
        return with_learning_rate(recipe, hparams)


# The options of a finished run, and those that follow from them: to go on with it, and to evaluate it.

# What the run's model decides.
_FIXED = ("preset", "pretrained", "pooling", "extra_blocks")
# What a run says of its own rows and folder, not of how it trains.
_OWN = (*SOURCES, "train_examples", "init_from", "add_labels", "output_dir", "overwrite")


def options_of(run: RunFolder, over_chunks: bool = True) -> ClassificationOptions:
    """The options of a classification run: `DocumentOptions` of one over chunks of documents, where that will do."""
    of_documents = DocumentOptions.__dataclass_fields__.keys() - ClassificationOptions.__dataclass_fields__.keys()
    kind = DocumentOptions if of_documents & run.config.keys() else ClassificationOptions
    options = kind.of_run(run)
    if kind is DocumentOptions and not over_chunks:
        raise TransformerError(f"{run.path} must hold a run of classify.py; it holds one over chunks of documents")
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
