"""Fine-tune, evaluate, save and export a text classifier.

    python -m tftransformer classify --freeze_layers=8

fine-tunes the embedded encoder on the embedded sample (patients' own words, six hospital departments) and
ends with precision, recall and F1 by class beside those of word counting. Everything is left in `runs/sample-1`.
The frozen blocks run once, not in every epoch (`--activation_cache=off` lets them).
With your own texts (CSV, TSV or JSONL; a file, or a folder with train, validation and test):

    python -m tftransformer classify --dataset=tickets.csv --preset=bert_base_en_uncased --sequence_length=128
    python -m tftransformer classify --mode=predict --model=runs/tickets-1 --text="no refund after three weeks"
    python -m tftransformer classify --mode=predict --model=runs/tickets-1 --texts=new.csv --output=answers.csv
    python -m tftransformer classify --mode=evaluate --model=runs/tickets-1

The last one repeats the report on the run's own test rows; --dataset or --test_path names others.

Later, with new rows, a finished run is trained further on its own rows and the new ones, with its settings unless flags say
otherwise, and both test sets are reported before and after:

    python -m tftransformer classify --init_from=runs/tickets-1 --dataset=tickets_of_may.csv
"""

import dataclasses
from typing import Any

from tftransformer.runs.commands import modes
from tftransformer.runs.flags import OptionFlags, option
from tftransformer.runs.options import ClassificationOptions, continued_options, options_of
from tftransformer.runs.predictions import thresholds_of
from tftransformer.runs.run_folder import RunFolder, check_free


@dataclasses.dataclass(frozen=True)
class ModeOptions(modes.ModeOptions):
    """Mode of the command, and the texts and thresholds for a finished run."""

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


MODE = OptionFlags(ModeOptions, output="predict: a CSV file for label and probabilities, in place of the screen.")
RUN = OptionFlags(
    ClassificationOptions, overwrite="Replace a finished or different run in --output_dir, or the file of --output."
)
FLAGS = (MODE, RUN)


def read_flags() -> tuple[ModeOptions, Any]:
    """Return the mode and its input: options to train; the data to evaluate on, None for the run's own; texts."""
    mode, given = modes.read_mode(MODE), RUN.given()
    if mode.mode == "predict":
        thresholds_of(mode.model, mode.min_probability, mode.min_accuracy, mode.label_sets)
        return mode, modes.read_texts(mode, given, ClassificationOptions)
    if mode.mode == "evaluate":
        return mode, options_of(RunFolder.open_model(mode.model)).to_evaluate(given)
    if "init_from" not in given:
        return modes.read_flags(MODE, RUN, ClassificationOptions)
    options = continued_options(given.pop("init_from"), given)
    options.check()
    check_free(options.output_dir, options.overwrite)
    return mode, options


def run(mode: ModeOptions, what: Any) -> None:
    """Train, evaluate or predict."""
    from tftransformer.runs import classification, continue_training, finished_runs

    if mode.mode == "predict":
        finished_runs.predict(mode.model, what, mode.output, mode.min_probability, mode.min_accuracy, mode.label_sets)
    elif mode.mode == "evaluate":
        finished_runs.evaluate(mode.model, what)
    elif what.init_from is None:
        classification.train(what)
    else:
        continue_training.train(what)
