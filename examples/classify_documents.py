"""Classify documents longer than the encoder: chunks to vectors, attention over chunks, one label a document.

    python examples/classify_documents.py

cuts each text of the embedded sample into chunks of 16 tokens (its texts are short; your own take 128 or more), learns from
all of them, and ends with precision, recall and F1 by class, and with the weights of the chunks of three documents. Everything
is left in `runs/sample-1`. With your own documents:

    python examples/classify_documents.py --dataset=reports.csv --preset=models/bert-base-uncased --sequence_length=256 --overlap=32

`python -m tftransformer classify_documents` is the whole command: it has all flags, and compares with a classifier that reads
the beginning of each document alone.
"""

from pathlib import Path

from absl import flags

import tftransformer as tt
from tftransformer.runs.commands import run_command

FLAGS = flags.FLAGS
flags.DEFINE_string("dataset", "sample", "A file or folder of labelled texts, or tfds:NAME; see tt.data.load.")
flags.DEFINE_string("preset", "bert_12x192_en_uncased", "The encoder: a name, a folder or a handle.")
flags.DEFINE_integer("sequence_length", 16, "Tokens of a chunk at most.", lower_bound=3)
flags.DEFINE_integer("max_chunks", 8, "Chunks of a document at most; what lies behind is not read.", lower_bound=1)
flags.DEFINE_integer("overlap", 0, "Tokens that a chunk shares with the one before.", lower_bound=0)
flags.DEFINE_integer("chunk_blocks", 0, "Fresh blocks by which chunks see each other and their order.", lower_bound=0)
flags.DEFINE_string("strategy", "freeze:8", "How it is fine-tuned: full, lora:8, adapter:48, …")
flags.DEFINE_float("learning_rate", None, "Highest learning rate. None: what is advised for the encoder.")
flags.DEFINE_integer("epochs", None, "Passes over the rows. None: enough updates for so many rows.", lower_bound=1)
flags.DEFINE_integer("seed", 0, "Random seed of weights, order and splits.")
flags.DEFINE_string("output_dir", None, "Folder of the run. None: the next free one in runs/.")


def main(_):
    import keras

    train, validation, test = tt.data.load(FLAGS.dataset, seed=FLAGS.seed)
    keras.utils.set_random_seed(FLAGS.seed)
    chunks = {name: FLAGS[name].value for name in ("sequence_length", "max_chunks", "overlap", "chunk_blocks")}
    classifier = tt.DocumentClassifier.from_preset(FLAGS.preset, train.labels, seed=FLAGS.seed, **chunks)
    print(classifier.apply(FLAGS.strategy))
    classifier.compile(learning_rate=FLAGS.learning_rate)

    with tt.runs.RunFolder.create(FLAGS.output_dir, Path(FLAGS.dataset).stem, config=FLAGS.flag_values_dict()) as run:
        classifier.fit(train, validation_data=validation, epochs=FLAGS.epochs, verbose=2)

        report = classifier.report(test, *classifier.objective.baselines(train, test, FLAGS.seed))
        print(f"\n{report}\n")
        for document, label, weights in zip(test.texts[:3], test.targets, classifier.chunk_weights(test.texts[:3])):
            print(f"{document:.70}… ({label}) is decided by")
            for chunk in sorted(weights, key=lambda chunk: -chunk.weight):
                print(f"  {chunk.weight:.2f}  {chunk.text}")

        classifier.save_to_preset(run.model_path)  # tt.load gives it back
        classifier.export(run.saved_model_path)  # strings in, probabilities out; TF Serving
        run.report_path.write_text(f"{report}\n")
        run.finish({"test": report.to_dict()})
        print(f"everything is in {run.path}")


if __name__ == "__main__":
    run_command(main)
