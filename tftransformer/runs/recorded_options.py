"""The options of a finished run, and those that follow from them: to go on with it, and to evaluate it."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tftransformer.errors import TransformerError, near_miss
from tftransformer.runs.options import COLUMNS, SOURCES, ClassificationOptions, DocumentOptions
from tftransformer.runs.run_folder import RunFolder

# What the run's model decides.
_FIXED = ("preset", "pretrained", "pooling", "extra_blocks")
# What a run says of its own rows and folder, not of how it trains.
_OWN = (*SOURCES, "train_examples", "init_from", "add_labels", "output_dir", "overwrite")


def recorded_options(run: RunFolder) -> ClassificationOptions:
    """The options of a run of `examples/classify.py`."""
    options = options_of(run)
    if isinstance(options, DocumentOptions):
        raise TransformerError(
            f"{run.path} must hold a run of classify.py; it holds one over chunks of documents"
        )
    return options


def options_of(run: RunFolder) -> ClassificationOptions:
    """The options of a classification run, `DocumentOptions` of one over chunks of documents."""
    config = run.config
    kind = DocumentOptions if "max_chunks" in config else ClassificationOptions
    known = {field.name for field in dataclasses.fields(kind)}
    if not {"dataset", "preset", "seed", "batch_size"} <= set(config):
        raise TransformerError(f"{run.path} must hold a classification run; its record names no data set")
    try:
        return kind(**{name: value for name, value in config.items() if name in known})
    except (TypeError, TransformerError) as error:
        raise TransformerError(f"{run.path}: its record of options is damaged: {error}") from None


def evaluation_options(run: str | Path, given: Mapping[str, Any]) -> ClassificationOptions | None:
    """The data to evaluate a finished run on: what is given, its columns called as the run's unless they are given too.

    Args:
        run: Its folder.
        given: Options by name. Those that do not say which data are meant are left aside.

    Returns:
        Options of which the data are read; None where no data are given: the run's own test rows.

    Example:
        >>> evaluation_options("runs/tickets-1", {"dataset": "may.csv"})  # doctest: +SKIP
    """
    own = options_of(RunFolder.open(run, argument="model"))
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
        run: Its folder.
        given: Options by name. `dataset` or `train_path` has to be among them: the new rows.

    Example:
        >>> train(continued_options("runs/tickets-1", {"dataset": "may.csv", "epochs": 1}))  # doctest: +SKIP
    """
    old = recorded_options(RunFolder.open(run, argument="init_from"))
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
