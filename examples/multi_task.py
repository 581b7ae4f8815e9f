"""Train several classification tasks together on one encoder, with a head each.

    python examples/multi_task.py

makes two tasks of the embedded sample, departments of the body and of the nerves, trains one encoder with two heads on both, and
ends with a report of each. Everything is left in `runs/multi_task-1`: one model, and a SavedModel with one signature a task. With
tasks of your own, a file or folder each:

    python examples/multi_task.py --datasets=sst2/,ag_news/,mrpc/ --preset=models/all-MiniLM-L6-v2 --sequence_length=64

`python -m tftransformer multi_task` is the whole command: it has all flags, and trains each task alone, too, to see what sharing
is worth.
"""

from pathlib import Path

from absl import flags

import tftransformer as tt
from tftransformer.runs.commands import run_command

FLAGS = flags.FLAGS
flags.DEFINE_list(
    "datasets", None, "Files or folders of labelled texts, a task each. None: the embedded sample in two."
)
flags.DEFINE_string("sampling", "proportional:0.75", "How tasks are drawn: equal, or by a power of their sizes.")
flags.DEFINE_string("preset", "bert_12x192_en_uncased", "The encoder: a name, a folder or a handle.")
flags.DEFINE_string("strategy", "freeze:8", "How it is fine-tuned: full, lora:8, adapter:48, …")
flags.DEFINE_integer(
    "sequence_length", None, "Tokens of a text at most. None: the longest of the encoder.", lower_bound=3
)
flags.DEFINE_float("learning_rate", None, "Highest learning rate. None: what is advised for the encoder.")
flags.DEFINE_integer("epochs", None, "Passes over the rows. None: enough updates for so many rows.", lower_bound=1)
flags.DEFINE_integer("seed", 0, "Random seed of weights, order and splits.")
flags.DEFINE_string("output_dir", None, "Folder of the run. None: the next free one in runs/.")


def load_tasks():
    """The splits of each task, by name."""
    if FLAGS.datasets:
        return {Path(source).stem: tt.data.load(source, seed=FLAGS.seed) for source in FLAGS.datasets}
    sample, nerves = tt.data.load("sample"), {"neurology", "psychiatry", "orthopaedics"}

    def of(departments):
        return tt.data.Splits(
            *(split.take([i for i, label in enumerate(split.targets) if label in departments]) for split in sample)
        )

    return {"nerves": of(nerves), "body": of({*sample.train.labels} - nerves)}


def main(_):
    import keras

    tasks = load_tasks()
    train = {name: splits.train for name, splits in tasks.items()}
    keras.utils.set_random_seed(FLAGS.seed)
    model = tt.MultiTaskClassifier.from_preset(
        FLAGS.preset, tasks=train, sequence_length=FLAGS.sequence_length, seed=FLAGS.seed
    )
    print(model.apply(FLAGS.strategy))
    model.compile(learning_rate=FLAGS.learning_rate)

    with tt.runs.RunFolder.create(FLAGS.output_dir, "multi_task", config=FLAGS.flag_values_dict()) as run:
        validation = {name: splits.validation for name, splits in tasks.items()}
        model.fit(train, validation_data=validation, sampling=FLAGS.sampling, epochs=FLAGS.epochs, verbose=2)

        reports = model.report({name: splits.test for name, splits in tasks.items()})
        text = "\n\n".join(f"{name}\n{report}" for name, report in reports.items())
        print(f"\n{text}\n")

        model.save_to_preset(run.model_path)  # tt.load gives it back
        model.export(run.saved_model_path)  # one signature a task; TF Serving
        run.report_path.write_text(f"{text}\n")
        run.finish({"test": {name: report.to_dict() for name, report in reports.items()}})
        print(f"everything is in {run.path}")


if __name__ == "__main__":
    run_command(main)
