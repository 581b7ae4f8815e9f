"""Fine-tune, evaluate, save and export a text classifier.

    python examples/classify.py --freeze_layers=8

fine-tunes the embedded encoder on the embedded sample (patients' own words, six hospital departments) and
ends with precision, recall and F1 by class beside those of word counting. Everything is left in `runs/sample-1`.
The frozen blocks run once, not in every epoch (`--prefix_cache=off` lets them).
With your own texts (CSV, TSV or JSONL; a file, or a folder with train, validation and test):

    python examples/classify.py --dataset=tickets.csv --preset=bert_base_en_uncased --max_length=128
    python examples/classify.py --mode=predict --model=runs/tickets-1 --text="no refund after three weeks"
    python examples/classify.py --mode=predict --model=runs/tickets-1 --texts=new.csv --output=answers.csv
    python examples/classify.py --mode=evaluate --model=runs/tickets-1

The last one repeats the report on the run's own test rows; --dataset or --test_path names others.

Later, with new rows, a finished run is trained further on its own rows and the new ones, with its settings unless flags say
otherwise, and both test sets are reported before and after:

    python examples/classify.py --init_from=runs/tickets-1 --dataset=tickets_of_may.csv
"""

from typing import Any

from absl import flags

from tftransformer.experiments.commands import from_flags, given_flags, run_command
from tftransformer.experiments.options import ClassificationOptions
from tftransformer.experiments.output_folder import check_free
from tftransformer.experiments.predictions import check_output, pair_up, texts_to_predict
from tftransformer.experiments.recorded_options import continued_options, evaluation_options, options_of
from tftransformer.experiments.runs import RunFolder

FLAGS = flags.FLAGS

flags.DEFINE_enum("mode", "train", ["train", "evaluate", "predict"], "What to do.")
flags.DEFINE_string("model", None, "evaluate, predict: the folder of a finished run.")
flags.DEFINE_multi_string("text", None, "predict: a text; may be given several times.")
flags.DEFINE_multi_string("text_pair", None, "predict, for pairs: the second text of each --text.")
flags.DEFINE_string(
    "texts",
    None,
    "predict: a file of texts, one a line (.txt), or a CSV, TSV or JSONL file with --text_columns.",
)
flags.DEFINE_string(
    "output", None, "predict: a CSV file for label and probabilities, in place of the screen."
)

# Data
flags.DEFINE_string(
    "dataset", "sample", "A CSV, TSV or JSONL file, a folder with one file a split, 'sample', or 'tfds:NAME'."
)
flags.DEFINE_string(
    "train_path", None, "A file with the training rows, where names do not tell the splits apart."
)
flags.DEFINE_string("validation_path", None, "Likewise, validation.")
flags.DEFINE_string("test_path", None, "Likewise, test.")
flags.DEFINE_list(
    "text_columns", None, "The column of the text, or the two of a pair; by name, or by number from 1."
)
flags.DEFINE_string("label_column", None, "The column of the label.")
flags.DEFINE_list("label_columns", None, "Several labels a text: a column of 0 and 1 for each.")
flags.DEFINE_string(
    "label_delimiter", None, "Several labels a text: what separates them in the label column."
)
flags.DEFINE_integer("train_examples", None, "Train on this many rows, chosen by --seed.")
flags.DEFINE_boolean("drop_leaked", False, "Drop training rows whose text stands in validation or test too.")

# Model
flags.DEFINE_string(
    "preset",
    "bert_12x192_en_uncased",
    "An embedded preset, a keras-nlp name or handle, a Hugging Face folder, or a folder this project saved.",
)
flags.DEFINE_boolean(
    "pretrained", True, "Load the preset's weights; --nopretrained trains from random numbers."
)
flags.DEFINE_string(
    "strategy",
    None,
    "How it is fine-tuned: full, freeze:8, head, unfreeze, layerwise:0.9, bitfit, lora:8, adapter:48 or prefix:10; "
    "default: full, or what --freeze_layers says.",
)
flags.DEFINE_integer("freeze_layers", 0, "Freeze the embeddings and this many blocks; 0 trains everything.")
flags.DEFINE_integer("extra_blocks", 0, "Fresh Transformer blocks between the encoder and the head.")
flags.DEFINE_enum(
    "pooling", None, ["cls", "mean", "max"], "From tokens to one vector; default: the preset's."
)
flags.DEFINE_integer("max_length", None, "Longest text in tokens; default: the encoder's limit.")

# Training
flags.DEFINE_integer(
    "epochs",
    None,
    "Passes over the training rows; default: the preset's advice, else 3, and more where these are fewer than 250 updates.",
)
flags.DEFINE_integer("batch_size", 16, "Rows a batch, over all replicas.")
flags.DEFINE_float(
    "learning_rate",
    None,
    "Highest rate of pretrained weights (fresh blocks and the head have at "
    "least 5e-4); default: the strategy's, or the preset's advice, else 1e-4 for encoders narrower than 512 and 2e-5 "
    "for others.",
)
flags.DEFINE_string("schedule", "linear", "linear, cosine, polynomial, exponential or constant.")
flags.DEFINE_float("warmup", None, "Share of the run in which the rate rises; default: 0.1, constant: 0.")
flags.DEFINE_float("weight_decay", 0.01, "Decoupled decay, not on biases and norms.")
flags.DEFINE_float("label_smoothing", 0.0, "Share of the label's weight spread over all classes.")
flags.DEFINE_integer("gradient_accumulation", 1, "Batches to an update.")
flags.DEFINE_string("class_weight", "none", "none or balanced.")
flags.DEFINE_string("mixed_precision", "none", "none, bfloat16 or float16.")
flags.DEFINE_string("distribution", "default", "default, mirrored (all GPUs of this machine) or tpu.")
flags.DEFINE_integer(
    "early_stopping",
    0,
    "Stop after this many epochs without a better validation macro-F1 and keep the best weights; 0: never.",
)
flags.DEFINE_string(
    "prefix_cache",
    "auto",
    "What is frozen runs once, and epochs train from its outputs: auto, off, or a folder to keep them in.",
)
flags.DEFINE_list(
    "augmentation",
    None,
    "Train on changed copies of the texts too, drawn anew in each epoch: a list of synonyms, swap, delete and insert, "
    "each with its rate, such as swap:0.1,delete:0.1.",
)
flags.DEFINE_integer("augmentation_copies", 1, "Copies of each text; 0: a copy takes the text's place.")
flags.DEFINE_string(
    "augmentation_synonyms",
    "wordnet",
    "Where synonyms come from: wordnet (needs nltk and its WordNet), embeddings (the encoder's own nearest words) or "
    "wordnet_or_embeddings.",
)
flags.DEFINE_integer("seed", 0, "Of weights, order, splits and subsets.")
flags.DEFINE_string(
    "init_from",
    None,
    "The folder of a finished run to go on with; --dataset or --train_path names the new rows.",
)
flags.DEFINE_boolean("add_labels", False, "--init_from: new rows may have labels that the run does not know.")
flags.DEFINE_string("output_dir", None, "Folder of the run; default: the next free runs/NAME-N.")
flags.DEFINE_boolean(
    "overwrite", False, "Replace a finished or different run in --output_dir, or the file of --output."
)


def read_flags() -> Any:
    """What the mode needs: options to train; the data to evaluate on, None for the run's own; texts."""
    if FLAGS.mode == "predict":
        return _texts()
    given = given_flags(ClassificationOptions)
    if FLAGS.mode == "evaluate":
        return evaluation_options(FLAGS.model, given)
    if FLAGS.init_from is None:
        options = from_flags(ClassificationOptions)
    else:
        options = continued_options(given.pop("init_from"), given)
        options.check()
    check_free(options.output_dir, options.overwrite)
    return options


def _texts() -> list:
    run = RunFolder.open(FLAGS.model, argument="model")
    if FLAGS.output is not None:
        check_output(FLAGS.output, FLAGS.overwrite)
    columns = FLAGS.text_columns
    if FLAGS.texts is not None and columns is None:
        columns = options_of(run).text_columns
    return texts_to_predict(pair_up(FLAGS.text, FLAGS.text_pair), FLAGS.texts, columns)


def main(given: Any) -> None:
    from tftransformer.experiments import classification, continuing, finished_runs

    if FLAGS.mode == "predict":
        finished_runs.predict(FLAGS.model, given, FLAGS.output)
    elif FLAGS.mode == "evaluate":
        finished_runs.evaluate(FLAGS.model, given)
    else:
        (classification if given.init_from is None else continuing).train(given)


if __name__ == "__main__":
    run_command(main, read_flags)
