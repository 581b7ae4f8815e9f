"""Put a checkpoint into a structure of your own, and fine-tune, evaluate, save and export it.

    python examples/custom_model.py --layers=every_second --max_sequence_length=512 \\
        --new_tokens=swollen,tingling,vomiting --learning_rate=2e-4

takes every second block of the embedded encoder, twice as many positions and three new words, and fine-tunes the
result on the embedded sample: 5.3 million parameters instead of 7.9, and a macro-F1 of .847 with seed 0 (word
counting: .73). Without a rate it would take the one that the preset advises for the whole encoder, 7e-5, and reach .71 in
the same time: half as deep a model wants more. The steps, each of which is one call in your own code:

1. A config states the structure: a JSON file with the fields of `tt.TransformerConfig` that you want to set
   (`--config=config.json`; what it leaves out is the checkpoint's), or the flags above alone.

       config = tt.TransformerConfig.from_json(open("config.json").read())

2. The weights come from a preset by name, a folder, a hub (`--preset=hf://owner/name`), or a bare file
   (`--weights=model.safetensors --vocabulary=vocab.txt --config=config.json`), and are fitted to the config:
   fewer blocks (the first, the last, every second, or by number), fewer or more positions (repeated or
   interpolated), new tokens at the end of a WordPiece vocabulary, whose vectors start as the mean of the others.
   What else differs is an error, not a guess.

       preset = tt.checkpoints.adapt(tt.load_preset("bert_base_en_uncased"), config, layers="every_second")
       print(preset.summary)
       encoder = preset.build_encoder()           # a plain functional keras.Model, if that is all you need

3. The model is written as a preset of its own (`--model_dir`, by default `presets/custom-1`), which every other
   example takes, too.

       tt.checkpoints.write_preset(preset, "presets/custom-1")

4. Optimizer and schedule are set, the classifier is fine-tuned, evaluated beside word counting, saved and exported
   as a SavedModel, as in `examples/classify.py`; the run is left in `runs/sample-1`.

       classifier = tt.TextClassifier.from_preset("presets/custom-1", labels=train.labels)
       classifier.compile(learning_rate=1e-4, schedule="cosine", warmup=0.1)
       classifier.fit(train, validation_data=validation, epochs=8)
       print(classifier.report(test))
       classifier.export("serving/1")
"""

from absl import flags

from tftransformer.experiments.commands import from_flags, run_command
from tftransformer.experiments.options import CustomOptions
from tftransformer.experiments.output_folder import check_free

FLAGS = flags.FLAGS

# The checkpoint
flags.DEFINE_string(
    "preset",
    "bert_12x192_en_uncased",
    "An embedded preset, a keras-nlp name or handle, a Hugging Face folder, or a folder this project saved.",
)
flags.DEFINE_string("weights", None, "In its place: a weights file, with --config and --vocabulary.")
flags.DEFINE_string("vocabulary", None, "For --weights: a vocab.txt, or a folder with a tokenizer's files.")

# The structure
flags.DEFINE_string("config", None, "A JSON file with fields of TransformerConfig.")
flags.DEFINE_string(
    "layers",
    None,
    "Blocks to keep: 6 (the first six), last:6, every_second, or numbers from 0, as in 0,5,11.",
)
flags.DEFINE_integer("max_sequence_length", None, "Positions; default: the config's, else the checkpoint's.")
flags.DEFINE_enum("positions", "repeated", ["repeated", "interpolated"], "How to make more of them.")
flags.DEFINE_list("new_tokens", [], "Words for the end of the vocabulary, as normalised text has them.")
flags.DEFINE_string("model_dir", None, "Folder of the model before training; default: presets/custom-N.")

# Data
flags.DEFINE_string("dataset", "sample", "A CSV, TSV or JSONL file, a folder, 'sample', or 'tfds:NAME'.")
flags.DEFINE_list("text_columns", None, "The column of the text, or the two of a pair.")
flags.DEFINE_string("label_column", None, "The column of the label.")
flags.DEFINE_integer("train_examples", None, "Train on this many rows, chosen by --seed.")
flags.DEFINE_integer("max_length", None, "Longest text in tokens; default: the model's limit.")

# Training
flags.DEFINE_integer("freeze_layers", 0, "Freeze the embeddings and this many blocks; 0 trains everything.")
flags.DEFINE_enum(
    "pooling", None, ["cls", "mean", "max"], "From tokens to one vector; default: the preset's."
)
flags.DEFINE_integer(
    "epochs",
    None,
    "Passes over the training rows; default: the preset's advice, else 3, and more where these are fewer than 250 updates.",
)
flags.DEFINE_integer("batch_size", 16, "Rows a batch.")
flags.DEFINE_float(
    "learning_rate",
    None,
    "Highest rate of old weights; default: the preset's advice, else 1e-4 for encoders narrower "
    "than 512 and 2e-5 for others.",
)
flags.DEFINE_string("schedule", "linear", "linear, cosine, polynomial, exponential or constant.")
flags.DEFINE_float("warmup", None, "Share of the run in which the rate rises; default: 0.1, constant: 0.")
flags.DEFINE_float("weight_decay", 0.01, "Decoupled decay, not on biases and norms.")
flags.DEFINE_string("mixed_precision", "none", "none, bfloat16 or float16.")
flags.DEFINE_integer("early_stopping", 0, "Stop after this many epochs without a better macro-F1; 0: never.")
flags.DEFINE_integer("seed", 0, "Of weights, order, splits and subsets.")
flags.DEFINE_string("output_dir", None, "Folder of the run; default: the next free runs/NAME-N.")
flags.DEFINE_boolean("overwrite", False, "Replace what --model_dir and --output_dir hold.")


def read_flags() -> CustomOptions:
    options = from_flags(CustomOptions)
    check_free(options.output_dir, options.overwrite)
    return options


def main(options: CustomOptions) -> None:
    from tftransformer.experiments import custom

    custom.train(options)


if __name__ == "__main__":
    run_command(main, read_flags)
