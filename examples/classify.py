"""Fine-tune a text classifier, and report, save and export it.

    python examples/classify.py --freeze_layers=8

learns to send patients' messages, the embedded sample, to one of six departments, and ends with precision, recall and F1 by
class beside those of word counting. Everything is left in `runs/sample-1`. With your own texts, and one or several labels each:

    python examples/classify.py --dataset=tickets.csv --preset=models/bert-base-uncased --strategy=lora:8 --epochs=3

`python -m tftransformer classify` is the whole command: it has all flags, and predicts with a finished run, evaluates it and
goes on with it.
"""

from pathlib import Path

from absl import flags

import tftransformer as tt
from tftransformer.runs.commands import run_command

FLAGS = flags.FLAGS
flags.DEFINE_string("dataset", "sample", "A file or folder of labelled texts, or tfds:NAME; see tt.data.load.")
flags.DEFINE_list("text_columns", None, "One or two columns of text, by name or number. None: found by their names.")
flags.DEFINE_string("label_column", None, "The column of the label, by name or number. None: found by its name.")
flags.DEFINE_string("label_delimiter", None, "What stands between labels, where a text has several, such as |.")
flags.DEFINE_integer("train_examples", None, "Training rows to use, chosen by the seed. None: all.", lower_bound=2)
flags.DEFINE_string("preset", "bert_12x192_en_uncased", "The encoder: a name, a folder or a handle.")
flags.DEFINE_string(
    "strategy", None, "How it is fine-tuned: lora:8, adapter:48, … None: all that is not frozen trains."
)
flags.DEFINE_integer("freeze_layers", 0, "Freeze the embeddings and so many blocks; 0 trains all.", lower_bound=0)
flags.DEFINE_integer(
    "sequence_length", None, "Tokens of a text at most. None: the longest of the encoder.", lower_bound=3
)
flags.DEFINE_float("learning_rate", None, "Highest learning rate. None: what is advised for the encoder.")
flags.DEFINE_integer("batch_size", 16, "Texts a batch.", lower_bound=1)
flags.DEFINE_integer("epochs", None, "Passes over the rows. None: enough updates for so many rows.", lower_bound=1)
flags.DEFINE_integer("seed", 0, "Random seed of weights, order and splits.")
flags.DEFINE_string("output_dir", None, "Folder of the run. None: the next free one in runs/.")


def main(_):
    import keras

    columns = {name: FLAGS[name].value for name in ("text_columns", "label_column", "label_delimiter")}
    splits = train, validation, test = tt.data.load(FLAGS.dataset, seed=FLAGS.seed, **columns)
    print(tt.data.check(splits))  # leaks between splits, doubles, labels that are missing
    if FLAGS.train_examples:
        train = tt.data.subset(train, FLAGS.train_examples, FLAGS.seed)
    keras.utils.set_random_seed(FLAGS.seed)
    classifier = tt.TextClassifier.from_preset(
        FLAGS.preset,
        train.labels,
        multi_label=train.multi_label,
        sequence_length=FLAGS.sequence_length,
        seed=FLAGS.seed,
    )
    freeze = f"freeze:{FLAGS.freeze_layers}" if FLAGS.freeze_layers else None
    if methods := [method for method in (freeze, FLAGS.strategy) if method]:
        print(classifier.apply(methods))
    classifier.compile(learning_rate=FLAGS.learning_rate)

    with tt.runs.RunFolder.create(FLAGS.output_dir, Path(FLAGS.dataset).stem, config=FLAGS.flag_values_dict()) as run:
        history = classifier.fit(
            train, validation_data=validation, batch_size=FLAGS.batch_size, epochs=FLAGS.epochs, verbose=2
        )
        print(f"calibrated on validation: temperature {classifier.calibrate(validation):.2f}")
        if train.multi_label:
            classifier.tune_threshold(validation)
        word_counting = classifier.objective.baselines(train, test, FLAGS.seed)
        report = classifier.report(test, *word_counting)
        print(f"\n{report}\n")

        run.report_path.write_text(f"{report}\n")
        tt.evaluation.plot_curves(run.curves_path, history.history)
        tt.evaluation.plot_confusion_matrix(run.confusion_matrix_path, report["confusion_matrix"], classifier.labels)
        classifier.objective.write_predictions(run.predictions_path, test, classifier.predict(test, verbose=0))
        classifier.save_to_preset(run.model_path)  # tt.load gives it back
        classifier.export(run.saved_model_path)  # strings in, probabilities out; TF Serving
        run.finish({"test": report.to_dict()})
        print(f"everything is in {run.path}")


if __name__ == "__main__":
    run_command(main)
