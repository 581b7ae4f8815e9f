"""Fine-tune, evaluate, save and export a text classifier; predict with a finished run, or go on with it.

--dataset names the texts, --preset the encoder; --mode=predict and --mode=evaluate take --model, the folder of a
finished run, and --init_from goes on with one.
"""

import dataclasses
from typing import Any

from tftransformer.errors import TransformerError
from tftransformer.runs.flags import OptionFlags, option
from tftransformer.runs.options import ClassificationOptions, continued_options, evaluation_options, options_of
from tftransformer.runs.predictions import check_output, pair_up, texts_to_predict, thresholds_of
from tftransformer.runs.run_folder import RunFolder, check_free


@dataclasses.dataclass(frozen=True)
class ModeOptions:
    """What is done, and what a finished run is to answer to."""

    mode: str = option("train", "What to do.", choices=("train", "evaluate", "predict"))
    model: str | None = option(
        None, "evaluate, predict: the folder of a run; an interrupted one answers with what it had trained."
    )
    text: tuple[str, ...] | None = option(None, "predict: a text; may be given several times.")
    text_pair: tuple[str, ...] | None = option(None, "predict, for pairs: the second text of each --text.")
    texts: str | None = option(
        None, "predict: a file of texts, one a line (.txt), or a CSV, TSV or JSONL file with --text_columns."
    )
    min_probability: float = option(
        0.0, "predict: leave out the label where it is less likely; the report of the run has thresholds.", least=0
    )
    min_accuracy: float | None = option(
        None,
        "predict: leave out the label where it is less likely than the run's report wants it for so large a fraction of "
        "right answers, such as 0.95.",
    )
    label_sets: float | None = option(
        None,
        "predict: give each text the set of labels that it may have, too; this fraction of the sets, such as 0.9, holds the "
        "right one, by the threshold in the run's report.",
    )
    output: str | None = option(None, "predict: a CSV file for label and probabilities, in place of the screen.")


MODE = OptionFlags(ModeOptions)
RUN = OptionFlags(
    ClassificationOptions, overwrite="Replace a finished or different run in --output_dir, or the file of --output."
)
FLAGS = (MODE, RUN)
# In which modes a flag says something, where that is not predict alone.
_MODES_OF = {"mode": ("train", "evaluate", "predict"), "model": ("evaluate", "predict")}


def read_flags() -> tuple[ModeOptions, Any]:
    """What to do, and with what: options to train; the data to evaluate on, None for the run's own; texts."""
    mode, given = MODE.read(), RUN.given()
    for name in MODE.given():
        modes = _MODES_OF.get(name, ("predict",))
        if mode.mode not in modes:
            raise TransformerError(f"{name} goes with mode={' or mode='.join(modes)}; got mode={mode.mode}")
    if mode.mode == "predict":
        return mode, _texts(mode, given)
    if mode.mode == "evaluate":
        return mode, evaluation_options(mode.model, given)
    if "init_from" in given:
        options = continued_options(given.pop("init_from"), given)
        options.check()
    else:
        options = RUN.read()
    check_free(options.output_dir, options.overwrite)
    return mode, options


def _texts(mode: ModeOptions, given: dict[str, Any]) -> list:
    for name in given:
        if name not in ("text_columns", "overwrite"):
            raise TransformerError(f"{name} cannot go with mode=predict, whose texts are those of --text and --texts")
    thresholds_of(mode.model, mode.min_probability, mode.min_accuracy, mode.label_sets)
    run = RunFolder.open_model(mode.model)
    if mode.output is not None:
        check_output(mode.output, given.get("overwrite", False))
    columns = given.get("text_columns")
    if mode.texts is not None and columns is None:
        columns = options_of(run).text_columns
    return texts_to_predict(pair_up(mode.text, mode.text_pair), mode.texts, columns)


def run(mode: ModeOptions, what: Any) -> None:
    """Train, evaluate or predict."""
    from tftransformer.runs import classification, continuing, finished_runs

    if mode.mode == "predict":
        finished_runs.predict(mode.model, what, mode.output, mode.min_probability, mode.min_accuracy, mode.label_sets)
    elif mode.mode == "evaluate":
        finished_runs.evaluate(mode.model, what)
    elif what.init_from is None:
        classification.train(what)
    else:
        continuing.train(what)
