"""Which fine-tuning strategy for how much data: one table and one plot.

    python examples/compare_strategies.py --strategies=full,freeze:8,lora:8,head --train_examples=50,200 --seeds=3

trains each strategy on the same 50 and 200 rows of the embedded sample with each of three seeds, always for as many
updates, and ends with a table: accuracy on the test rows, the difference to the first strategy seed by seed, how many
parameters trained, and how long it took. Everything is left in `runs/sample-strategies`, with `comparison.png`;
interrupted, the same command goes on, and further strategies, sizes and seeds join the same table.

    python examples/compare_strategies.py --dataset=tickets.csv --train_examples=100,1000 --learning_rates=1e-4,3e-4,1e-3

lets each strategy have the rate that is best for it on the validation rows.
"""

from absl import flags

from tftransformer.experiments.commands import from_flags, run_command
from tftransformer.experiments.flag_values import read_numbers
from tftransformer.experiments.options import ClassificationOptions
from tftransformer.finetuning.strategy import parse_strategy

FLAGS = flags.FLAGS

# The table
flags.DEFINE_list(
    "strategies",
    None,
    "Some of full, freeze:8, head, unfreeze, layerwise:0.9, bitfit, lora:8, adapter:48, prefix:10; default: one of "
    "each kind. The others are compared with the first.",
)
flags.DEFINE_list("train_examples", ["50", "200"], "How many rows to train on; a row of the table each.")
flags.DEFINE_integer(
    "seeds", 3, "How many seeds: rows, fresh weights, order and dropout differ by them.", lower_bound=1
)
flags.DEFINE_list(
    "learning_rates",
    [],
    "Rates from which each strategy has its best on the validation rows; default: its own.",
)
flags.DEFINE_integer(
    "updates", 300, "Batches that each model is trained on, rounded up to whole epochs.", lower_bound=1
)
flags.DEFINE_integer("batch_size", 16, "Rows a batch.")
flags.DEFINE_integer("test_examples", None, "Measure on this many test rows; default: all.")

# Data and model
flags.DEFINE_string(
    "dataset", "sample", "A CSV, TSV or JSONL file, a folder with one file a split, 'sample', or 'tfds:NAME'."
)
flags.DEFINE_string(
    "train_path", None, "A file with the training rows, where names do not tell the splits apart."
)
flags.DEFINE_string("validation_path", None, "Likewise, validation.")
flags.DEFINE_string("test_path", None, "Likewise, test.")
flags.DEFINE_list("text_columns", None, "The column of the text, or the two of a pair.")
flags.DEFINE_string("label_column", None, "The column of the label.")
flags.DEFINE_list("label_columns", None, "Several labels a text: a column of 0 and 1 for each.")
flags.DEFINE_string(
    "label_delimiter", None, "Several labels a text: what separates them in the label column."
)
flags.DEFINE_boolean("drop_leaked", False, "Drop training rows whose text stands in validation or test too.")
flags.DEFINE_string("preset", "bert_12x192_en_uncased", "An embedded preset, a keras-nlp name, or a folder.")
flags.DEFINE_enum(
    "pooling", None, ["cls", "mean", "max"], "From tokens to one vector; default: the preset's."
)
flags.DEFINE_integer("max_length", None, "Longest text in tokens; default: the encoder's limit.")
flags.DEFINE_string(
    "prefix_cache", "auto", "What is frozen runs once for all: auto, off, or a folder to keep it in."
)
flags.DEFINE_integer("seed", 0, "Of splits that are cut, and of the choice of test rows.")
flags.DEFINE_string("output_dir", None, "Folder of the table; default: runs/NAME-strategies.")


def read_flags() -> tuple[ClassificationOptions, dict]:
    for text in FLAGS.strategies or ():
        parse_strategy(text)
    table = {
        "train_examples": read_numbers("train_examples", FLAGS.train_examples, int),
        "learning_rates": read_numbers("learning_rates", FLAGS.learning_rates, float),
        "seeds": FLAGS.seeds,
        "updates": FLAGS.updates,
        "test_examples": FLAGS.test_examples,
    }
    # The table's are several numbers; an option of one run is one.
    return from_flags(ClassificationOptions, train_examples=None), table


def main(given: tuple[ClassificationOptions, dict]) -> None:
    from tftransformer.experiments import comparison

    options, table = given
    comparison.run_comparison(options, FLAGS.strategies, **table)


if __name__ == "__main__":
    run_command(main, read_flags)
