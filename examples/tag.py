"""Fine-tune a model that finds names, dates or parts of speech in texts, and report, save and export it.

    python examples/tag.py

learns the persons, places, organizations and dates of the embedded sample, and ends with the F1 of the entities beside that of a
list of words. Everything is left in `runs/sample-1`. With your own sentences, as columns of words and tags or as JSON lines with
the places of entities:

    python examples/tag.py --dataset=conll2003/ --preset=models/bert-base-cased
    python examples/tag.py --dataset=notes.jsonl --scheme=BIOES --strategy=lora:8 --epochs=10
"""

from pathlib import Path

from absl import flags

import tftransformer as tt
from tftransformer.runs.commands import run_command

FLAGS = flags.FLAGS
flags.DEFINE_string("dataset", "sample", "A file or folder of tagged sentences; see tt.data.load_tagged.")
flags.DEFINE_string("word_column", None, "The column of the words, by number or name. None: the first, or found.")
flags.DEFINE_string("tag_column", None, "The column of the tags, by number or name. None: the last, or found.")
flags.DEFINE_string("scheme", None, "What is learned: IOB2, BIOES, … None: as the tags are, IOB2 for IOB1.")
flags.DEFINE_string("preset", "bert_12x192_en_uncased", "The encoder: a name, a folder or a handle.")
flags.DEFINE_string("strategy", "full", "How it is fine-tuned: full, freeze:8, lora:8, adapter:24, …")
flags.DEFINE_integer(
    "sequence_length", None, "Tokens of a window; longer texts are read in several. None: the longest of the encoder.",
    lower_bound=3,
)  # fmt: skip
flags.DEFINE_float("learning_rate", None, "Highest learning rate. None: what is advised for the encoder.")
flags.DEFINE_integer("batch_size", 8, "Sentences a batch.", lower_bound=1)
flags.DEFINE_integer("epochs", None, "Passes over the rows. None: enough updates for so many rows.", lower_bound=1)
flags.DEFINE_integer("seed", 0, "Random seed of weights, order and splits.")
flags.DEFINE_string("output_dir", None, "Folder of the run. None: the next free one in runs/.")


def main(_):
    import keras

    splits = train, validation, test = tt.data.load_tagged(
        FLAGS.dataset, word_column=FLAGS.word_column, tag_column=FLAGS.tag_column, seed=FLAGS.seed
    )
    print(tt.data.check(splits))  # leaks between splits, doubles, labels that are missing
    keras.utils.set_random_seed(FLAGS.seed)
    tagger = tt.TokenClassifier.from_preset(
        FLAGS.preset, train.labels, scheme=FLAGS.scheme, sequence_length=FLAGS.sequence_length, seed=FLAGS.seed
    )
    print(tagger.apply(FLAGS.strategy))
    tagger.compile(learning_rate=FLAGS.learning_rate)

    with tt.runs.RunFolder.create(FLAGS.output_dir, Path(FLAGS.dataset).stem, config=FLAGS.flag_values_dict()) as run:
        tagger.fit(
            train, validation_data=validation, batch_size=FLAGS.batch_size, epochs=FLAGS.epochs, verbose=2
        )  # fmt: skip

        report = tagger.report(test, tt.evaluation.tagging_baselines(train, test))
        print(f"\n{report}\n")
        for text, spans in zip(test.texts[:3], tagger.find_spans(test.take(range(3)))):
            print(f"{text}\n  {', '.join(f'{span.text} ({span.type}, {span.probability:.2f})' for span in spans)}")

        tagger.save_to_preset(run.model_path)  # tt.load gives it back
        tagger.export(run.path / "serving" / "1")  # strings in, tags and places out; TF Serving
        run.finish({"test": report.to_dict()})
        print(f"everything is in {run.path}")


if __name__ == "__main__":
    run_command(main)
