"""Fine-tune a model that gives texts numbers, and report, save and export it.

    python examples/regress.py

learns the stars of the embedded sample, reviews of a guest house, and ends with its errors and correlations beside those of
word counting. Everything is left in `runs/sample_rated-1`. With your own texts, or pairs of texts and how alike they are:

    python examples/regress.py --dataset=reviews.csv --label_column=price --names=price
    python examples/regress.py --dataset=stsb/ --text_columns=1,2 --label_column=3 --names=similarity --strategy=lora:8
"""

from pathlib import Path

from absl import flags

import tftransformer as tt
from tftransformer.runs.commands import run_command

FLAGS = flags.FLAGS
flags.DEFINE_string("dataset", "sample_rated", "A file or folder with a column of numbers; see tt.data.load.")
flags.DEFINE_list("text_columns", None, "One or two columns of text, by name or number. None: found by their names.")
flags.DEFINE_list("label_column", None, "The column of the number, or several; by name or number. None: found.")
flags.DEFINE_list("names", ["stars"], "What each number is called.")
flags.DEFINE_list("levels", None, "Of ratings, the steps of their scale; reports then count nearest levels, too.")
flags.DEFINE_string("preset", "bert_12x192_en_uncased", "The encoder: a name, a folder or a handle.")
flags.DEFINE_string("strategy", "full", "How it is fine-tuned: full, freeze:8, lora:8, adapter:24, …")
flags.DEFINE_integer(
    "sequence_length", None, "Tokens of a text at most. None: the longest of the encoder.", lower_bound=3
)
flags.DEFINE_float("learning_rate", None, "Highest learning rate. None: what is advised for the encoder.")
flags.DEFINE_integer("epochs", None, "Passes over the rows. None: enough updates for so many rows.", lower_bound=1)
flags.DEFINE_integer("seed", 0, "Random seed of weights, order and splits.")
flags.DEFINE_string("output_dir", None, "Folder of the run. None: the next free one in runs/.")


def main(_):
    import keras

    columns = FLAGS.label_column or []
    labels = {"label_columns": columns} if len(columns) > 1 else {"label_column": columns[0] if columns else None}
    train, validation, test = tt.data.load(
        FLAGS.dataset, numeric=True, text_columns=FLAGS.text_columns, seed=FLAGS.seed, **labels
    )
    keras.utils.set_random_seed(FLAGS.seed)
    regressor = tt.TextRegressor.from_preset(
        FLAGS.preset, names=FLAGS.names, levels=FLAGS.levels, sequence_length=FLAGS.sequence_length, seed=FLAGS.seed
    )
    print(regressor.apply(FLAGS.strategy))
    regressor.compile(learning_rate=FLAGS.learning_rate)

    with tt.runs.RunFolder.create(FLAGS.output_dir, Path(FLAGS.dataset).stem, config=FLAGS.flag_values_dict()) as run:
        regressor.fit(train, validation_data=validation, epochs=FLAGS.epochs, verbose=2)

        shared = {"names": regressor.names, "levels": regressor.objective.levels}
        mean = tt.evaluation.mean_baseline(train.targets, test.targets, **shared)
        words = tt.evaluation.tfidf_ridge_baseline(train.texts, train.targets, test.texts, test.targets, **shared)
        report = regressor.report(test, [mean, words])
        print(f"\n{report}\n")

        predictions = regressor.predict(test, verbose=0)
        tt.evaluation.plot_predictions(test.targets, predictions, run.path / "predictions.png", regressor.names)
        regressor.save_to_preset(run.model_path)  # tt.load gives it back
        regressor.export(run.path / "serving" / "1")  # strings in, numbers out; TF Serving
        run.finish({"test": report.to_dict()})
        print(f"everything is in {run.path}")


if __name__ == "__main__":
    run_command(main)
