"""Search for the learning rate, the epochs and the fine-tuning strategy that validate best.

    python examples/search.py --strategies=full,freeze:8,lora:8 --learning_rate=1e-5,1e-3 --epochs=2,5 --trials=20

tries twenty recipes on the embedded sample and ends with a table of them, the best first, and the best model's report
on the test split, which had no part in the choice. Everything is left in `runs/sample-search`, `quality.png` (quality
against learning rate, coloured by strategy) among it. Interrupted or given more trials, the same command goes on.
"""

import dataclasses

from absl import flags

from tftransformer.experiments.commands import from_flags, run_command
from tftransformer.experiments.flag_values import read_range
from tftransformer.experiments.options import ClassificationOptions
from tftransformer.experiments.search_space import SearchSpace

FLAGS = flags.FLAGS

# What to search over
flags.DEFINE_list(
    "strategies", ["full", "freeze:8", "head"], "Strategies to choose from; 'freeze' takes --freeze_layers."
)
flags.DEFINE_list("learning_rate", ["1e-5", "1e-3"], "A rate, or the lowest and the highest.")
flags.DEFINE_list("epochs", ["2", "5"], "A number of epochs, or the least and the most.")
flags.DEFINE_list(
    "freeze_layers", None, "For the strategy 'freeze': a number of blocks, or the least and the most."
)
flags.DEFINE_integer("batch_size", 16, "Rows a batch.")
flags.DEFINE_integer("trials", 20, "How many recipes to try, all in all.", lower_bound=1)
flags.DEFINE_enum(
    "pruner",
    "median",
    ["median", "hyperband", "none"],
    "Which trials to give up early: median, hyperband or none.",
)
flags.DEFINE_boolean("report_test", True, "Report the best model on the test split when the search is over.")

# Data and model
flags.DEFINE_string(
    "dataset", "sample", "A CSV, TSV or JSONL file, a folder with one file a split, 'sample', or 'tfds:NAME'."
)
flags.DEFINE_list("text_columns", None, "The column of the text, or the two of a pair.")
flags.DEFINE_string("label_column", None, "The column of the label.")
flags.DEFINE_list("label_columns", None, "Several labels a text: a column of 0 and 1 for each.")
flags.DEFINE_string(
    "label_delimiter", None, "Several labels a text: what separates them in the label column."
)
flags.DEFINE_integer("train_examples", None, "Train on this many rows, chosen by --seed.")
flags.DEFINE_string("preset", "bert_12x192_en_uncased", "An embedded preset, a keras-nlp name, or a folder.")
flags.DEFINE_integer("max_length", None, "Longest text in tokens; default: the encoder's limit.")
flags.DEFINE_string(
    "prefix_cache", "auto", "What is frozen runs once for all trials: auto, off, or a folder to keep it in."
)
flags.DEFINE_integer("seed", 0, "Of proposals, weights, order, splits and subsets.")
flags.DEFINE_string("output_dir", None, "Folder of the search; default: runs/NAME-search.")

# Flags that say what is searched over, under names that elsewhere are options of one run.
_SEARCHED = ("learning_rate", "epochs", "freeze_layers")


def read_flags() -> tuple[ClassificationOptions, dict]:
    space = {
        "strategy": FLAGS.strategies,
        "learning_rate": read_range("learning_rate", FLAGS.learning_rate, float),
        "epochs": read_range("epochs", FLAGS.epochs, int),
        "batch_size": FLAGS.batch_size,
    }
    if FLAGS.freeze_layers is not None:
        space["freeze_layers"] = read_range("freeze_layers", FLAGS.freeze_layers, int)
    SearchSpace(space)  # refuses what no recipe may have
    defaults = {field.name: field.default for field in dataclasses.fields(ClassificationOptions)}
    options = from_flags(ClassificationOptions, **{name: defaults[name] for name in _SEARCHED})
    return options, space


def main(given: tuple[ClassificationOptions, dict]) -> None:
    from tftransformer.experiments import tuning

    options, space = given
    tuning.run_search(options, space, trials=FLAGS.trials, pruner=FLAGS.pruner, report_test=FLAGS.report_test)


if __name__ == "__main__":
    run_command(main, read_flags)
