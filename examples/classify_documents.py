"""Classify documents longer than the encoder: chunks to vectors, attention over chunks, one label a document.

    python examples/classify_documents.py --dataset=sample --max_length=16 --against_truncation

cuts each text of the embedded sample into chunks of 16 tokens (the sample's texts are short; your own take 128 or more),
fine-tunes, shows the weights of the chunks of three documents, and ends with precision, recall and F1 by class and with
the accuracy of a classifier that reads the first 16 tokens alone. The two runs are left in `runs/sample-1` and
`runs/sample-2`, with report, metrics, plots, model/ and saved_model/1/.

    python examples/classify_documents.py --dataset=reports.csv --preset=bert_base_en_uncased --max_length=256 \\
        --max_chunks=8 --overlap=32

In your own code:

    classifier = tt.DocumentClassifier.from_preset(preset, labels=train.labels, max_length=256, max_chunks=8)
    classifier.fit(train, epochs=3)
    for text, weight in classifier.chunk_weights([document])[0]:
        print(f"{weight:.2f}", text)
"""

from absl import flags

from tftransformer.experiments.commands import from_flags, run_command
from tftransformer.experiments.options import DocumentOptions
from tftransformer.experiments.output_folder import check_free

FLAGS = flags.FLAGS

# Data
flags.DEFINE_string("dataset", "sample", "A CSV, TSV or JSONL file, a folder, 'sample', or 'tfds:NAME'.")
flags.DEFINE_string("train_path", None, "A file with the training rows, where names do not tell them apart.")
flags.DEFINE_string("validation_path", None, "Likewise, validation.")
flags.DEFINE_string("test_path", None, "Likewise, test.")
flags.DEFINE_list("text_columns", None, "The column of the text.")
flags.DEFINE_string("label_column", None, "The column of the label.")
flags.DEFINE_string("label_delimiter", None, "Several labels a text: what separates them in the column.")
flags.DEFINE_boolean("drop_leaked", False, "Drop training rows whose text stands in validation or test too.")
flags.DEFINE_integer("train_examples", None, "Train on this many rows, chosen by --seed.")
flags.DEFINE_integer("test_examples", None, "Test on this many rows, chosen by --seed.")

# Model
flags.DEFINE_string("preset", "bert_12x192_en_uncased", "A preset's name, a handle or a folder.")
flags.DEFINE_integer("max_length", None, "Longest chunk in tokens; default: the encoder's limit.")
flags.DEFINE_integer("max_chunks", 8, "Most chunks of a document; what lies behind them is not read.")
flags.DEFINE_integer("overlap", 0, "Tokens that neighbouring chunks share.")
flags.DEFINE_integer("chunk_blocks", 0, "Transformer blocks over the chunks' vectors, with positions.")
flags.DEFINE_integer("freeze_layers", 0, "Freeze the embeddings and this many blocks; 0 trains everything.")
flags.DEFINE_enum(
    "pooling", None, ["cls", "mean", "max"], "From tokens to a chunk's vector; default: the preset's."
)
flags.DEFINE_boolean(
    "against_truncation", False, "Fine-tune a classifier of the first chunk alone, too, and compare."
)

# Training
flags.DEFINE_integer(
    "epochs",
    None,
    "Passes over the training rows; default: the preset's advice, else 3, and more where these are fewer than 250 updates.",
)
flags.DEFINE_integer("batch_size", 16, "Documents a batch.")
flags.DEFINE_float("learning_rate", None, "Highest rate of pretrained weights; default: the preset's advice.")
flags.DEFINE_string("mixed_precision", "none", "none, bfloat16 or float16.")
flags.DEFINE_integer("seed", 0, "Of weights, order, splits and subsets.")
flags.DEFINE_string("output_dir", None, "Folder of the run; default: the next free runs/NAME-N.")
flags.DEFINE_boolean("overwrite", False, "Replace a finished or different run in --output_dir.")


def read_flags() -> DocumentOptions:
    options = from_flags(DocumentOptions)
    check_free(options.output_dir, options.overwrite)
    return options


def main(options: DocumentOptions) -> None:
    from tftransformer.experiments import documents

    documents.train(options)


if __name__ == "__main__":
    run_command(main, read_flags)
