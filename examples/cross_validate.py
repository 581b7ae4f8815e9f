"""Cross-validate one way of fine-tuning: mean and deviation of its quality over stratified folds.

    python examples/cross_validate.py --strategy=freeze:8 --learning_rate=5e-4 --epochs=3 --folds=5

trains five times on four fifths of the embedded sample's training and validation rows and ends with a table: the
figures of each fold, their mean and their deviation. Equal texts, and rows of equal `--group_column`, share a fold; the
test split is left alone. Everything is left in `runs/sample-folds`; interrupted, the same command goes on.
"""

from absl import flags

from tftransformer.experiments.commands import from_flags, run_command
from tftransformer.experiments.options import ClassificationOptions
from tftransformer.experiments.recipes import check_recipe

FLAGS = flags.FLAGS

flags.DEFINE_integer("folds", 5, "How many folds.", lower_bound=2)
flags.DEFINE_string("group_column", None, "A column whose equal values stay in one fold, such as an author.")

# The recipe
flags.DEFINE_string(
    "strategy",
    "full",
    "full, freeze:8, head, unfreeze, layerwise:0.9, bitfit, lora:8, adapter:48 or prefix:10.",
)
flags.DEFINE_float("learning_rate", None, "Highest rate of pretrained weights; default: the strategy's.")
flags.DEFINE_integer("epochs", 3, "Passes over the training rows.")
flags.DEFINE_integer("batch_size", 16, "Rows a batch.")

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
flags.DEFINE_integer("train_examples", None, "Use this many rows, chosen by --seed.")
flags.DEFINE_string("preset", "bert_12x192_en_uncased", "An embedded preset, a keras-nlp name, or a folder.")
flags.DEFINE_integer("max_length", None, "Longest text in tokens; default: the encoder's limit.")
flags.DEFINE_string(
    "prefix_cache", "auto", "What is frozen runs once for all folds: auto, off, or a folder to keep it in."
)
flags.DEFINE_integer("seed", 0, "Of folds, weights, order, splits and subsets.")
flags.DEFINE_string("output_dir", None, "Folder of the folds; default: runs/NAME-folds.")

_RECIPE = ("strategy", "learning_rate", "epochs", "batch_size")


def read_flags() -> tuple[ClassificationOptions, dict]:
    recipe = {name: FLAGS[name].value for name in _RECIPE if FLAGS[name].value is not None}
    check_recipe(recipe)
    return from_flags(ClassificationOptions), recipe


def main(given: tuple[ClassificationOptions, dict]) -> None:
    from tftransformer.experiments import tuning

    options, recipe = given
    tuning.run_cross_validation(options, recipe, folds=FLAGS.folds, group_column=FLAGS.group_column)


if __name__ == "__main__":
    run_command(main, read_flags)
