"""Shared code of the commands of tasks: train, evaluate or predict with a run; flags are checked before TensorFlow."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from tftransformer.errors import TransformerError
from tftransformer.runs.flags import OptionFlags, option
from tftransformer.runs.predictions import check_output, pair_up, texts_to_predict
from tftransformer.runs.run_folder import RunFolder, check_free
from tftransformer.runs.task_options import TaskOptions


@dataclasses.dataclass(frozen=True)
class ModeOptions:
    """Mode of the command, and the texts for a finished run."""

    mode: str = option("train", "What to do.", choices=("train", "evaluate", "predict"))
    model: str | None = option(
        None, "evaluate, predict: the folder of a run; an interrupted one answers with what it had trained."
    )
    text: tuple[str, ...] | None = option(None, "predict: a text; may be given several times.")
    text_pair: tuple[str, ...] | None = option(None, "predict, for pairs: the second text of each --text.")
    texts: str | None = option(
        None, "predict: a file of texts, one a line (.txt), or a CSV, TSV or JSONL file with --text_columns."
    )
    output: str | None = option(None, "predict: a file for the answers, in place of the screen.")


# In which modes a flag says something, where that is not predict alone.
_MODES_OF = {"mode": ("train", "evaluate", "predict"), "model": ("evaluate", "predict")}


def read_flags(
    mode_flags: OptionFlags, run_flags: OptionFlags, kind: type[TaskOptions], ending: str = ".csv"
) -> tuple[Any, Any]:
    """Return the mode and its input: options to train; the data to evaluate on, None for the run's own; texts.

    Args:
        mode_flags: Flags of `ModeOptions`.
        run_flags: Flags of the options of a run.
        kind: The dataclass of these.
        ending: Ending of a file of answers.
    """
    mode, given = read_mode(mode_flags), run_flags.given()
    if mode.mode == "predict":
        return mode, read_texts(mode, given, kind, ending)
    if mode.mode == "evaluate":
        return mode, kind.of_run(RunFolder.open_model(mode.model)).to_evaluate(given)
    options = run_flags.read()
    check_free(options.output_dir, options.overwrite)
    return mode, options


def run(kind: Any, mode: ModeOptions, what: Any) -> None:
    """Train, evaluate or predict.

    Args:
        kind: Class of the command's runs, an `PredictingRun`.
        mode, what: As `read_flags` gives them.
    """
    from tftransformer.runs import finished, train

    if mode.mode == "predict":
        finished.predict(kind, mode.model, what, mode.output)
    elif mode.mode == "evaluate":
        finished.evaluate(kind, mode.model, what)
    else:
        train.train(kind, what)


def read_mode(mode_flags: OptionFlags) -> Any:
    """The mode, and the flags that go with it.

    Raises:
        TransformerError: A flag is for another mode.
    """
    mode = mode_flags.read()
    for name in mode_flags.given():
        modes = _MODES_OF.get(name, ("predict",))
        if mode.mode not in modes:
            raise TransformerError(f"{name} goes with mode={' or mode='.join(modes)}; got mode={mode.mode}")
    return mode


def read_texts(mode: Any, given: Mapping[str, Any], kind: type[TaskOptions], ending: str = ".csv") -> list:
    """The texts that a finished run is to answer to; arguments as of `read_flags`, and the flags of a run that are given."""
    for name in given:
        if name not in ("text_columns", "overwrite"):
            raise TransformerError(f"{name} cannot go with mode=predict, whose texts are those of --text and --texts")
    run = RunFolder.open_model(mode.model)
    options = kind.of_run(run)
    if mode.output is not None:
        check_output(mode.output, given.get("overwrite", False), ending)
    columns = given.get("text_columns")
    if mode.texts is not None and columns is None and "text_columns" in options.columns:
        columns = options.text_columns
    return texts_to_predict(pair_up(mode.text, mode.text_pair), mode.texts, columns)
