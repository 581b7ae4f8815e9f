"""The gain of a smaller classifier from a fine-tuned teacher, against plain fine-tuning of the same one.

    python benchmarks/distillation.py --preset=all-MiniLM-L6-v2 --train_path=SST-2/train.tsv \\
        --test_path=SST-2/stanford_sentences_test.tsv --seeds=3

The preset is fine-tuned on `--train_examples` rows: the teacher. Some of its layers (`--layers`) with its embeddings are
the student, which starts from the preset's weights, not the teacher's, and is fine-tuned on the same rows four times:
alone, with the teacher's soft labels, with its hidden states too, and with `--unlabelled` more rows that the teacher
labels. All four make as many updates. Each line is printed as it is measured; the means come last.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from absl import flags
from sidebyside.flag_rules import check_flags

import tftransformer as tt
from tftransformer.data.splitting import subset
from tftransformer.errors import TransformerError
from tftransformer.runs.commands import run_command

FLAGS = flags.FLAGS

flags.DEFINE_string("preset", "bert_12x192_en_uncased", "Teacher and student start from it.")
flags.DEFINE_string("train_path", None, "A file of labelled texts.", required=True)
flags.DEFINE_string("test_path", None, "Likewise, to measure on.", required=True)
flags.DEFINE_integer("train_examples", 2000, "Labelled rows.")
flags.DEFINE_integer("unlabelled", 4000, "More rows, of which the labels are not looked at.")
flags.DEFINE_string("layers", "every:2", "Layers of the student, as `keep_layers` takes them.")
flags.DEFINE_integer("teacher_epochs", 3, "Epochs of the teacher.")
flags.DEFINE_integer("epochs", 6, "Epochs of the student over the labelled rows.")
flags.DEFINE_float("learning_rate", 1e-4, "Of teacher and student.")
flags.DEFINE_float("temperature", 2.0, "See `distill`.")
flags.DEFINE_float("alpha", 0.7, "See `distill`; with unlabelled rows it is 1.")
flags.DEFINE_integer("sequence_length", 64, "Tokens.")
flags.DEFINE_integer("seeds", 3, "Rounds, each with other rows, another teacher and other students.")

WAYS = ("alone", "soft labels", "and hidden states", "and unlabelled rows")


def fine_tune(classifier: tt.TextClassifier, train: tt.data.Split, epochs: int) -> float:
    """Train; return the seconds that took."""
    classifier.compile(learning_rate=FLAGS.learning_rate)
    started = time.perf_counter()
    classifier.fit(train, batch_size=32, epochs=epochs, verbose=0)
    return time.perf_counter() - started


def student(labels: Sequence[str], seed: int) -> tt.TextClassifier:
    """Return the preset, some layers of it."""
    import keras  # here, because run_command loads it without TensorFlow's start-up messages

    keras.utils.set_random_seed(seed)
    whole = tt.TextClassifier.from_preset(FLAGS.preset, labels, sequence_length=FLAGS.sequence_length, seed=seed)
    return tt.keep_layers(whole, FLAGS.layers)


def run_seed(seed: int, splits: tt.data.Splits) -> dict[str, float]:
    """Return accuracies of the teacher and of the students, by way."""
    import keras

    from tftransformer.models.layer_choice import choose_layers

    drawn = subset(splits.train, FLAGS.train_examples + FLAGS.unlabelled, seed)
    labelled = subset(drawn, FLAGS.train_examples, seed)
    keras.utils.set_random_seed(seed)
    teacher = tt.TextClassifier.from_preset(
        FLAGS.preset, splits.train.labels, sequence_length=FLAGS.sequence_length, seed=seed
    )
    seconds = fine_tune(teacher, labelled, FLAGS.teacher_epochs)
    found = {"teacher": show(seed, "teacher", teacher, splits.test, seconds)}
    # Labels that stand there are replaced by what the teacher says.
    more = tt.data.Split(drawn.texts, teacher.predicted_labels(teacher.predict(drawn, verbose=0)))
    kept = choose_layers(FLAGS.layers, teacher.config.num_layers)
    blocks = {own: taught for own, taught in enumerate(ends_of(kept, teacher.config.num_layers))}
    for way in WAYS:
        pupil = student(splits.train.labels, seed)
        train = more if way == WAYS[3] else labelled
        alpha = 1.0 if way == WAYS[3] else FLAGS.alpha
        started = time.perf_counter()
        if way != WAYS[0]:
            hidden = blocks if way != WAYS[1] else None
            pupil.apply(tt.Distillation(teacher, FLAGS.temperature, alpha, hidden))
        fine_tune(pupil, train, FLAGS.epochs * len(labelled) // len(train))
        found[way] = show(seed, way, pupil, splits.test, time.perf_counter() - started)
    return found


def ends_of(kept: Sequence[int], layers: int) -> list[int]:
    """Return for each kept layer the last one of the teacher's before the next kept one: what it has to do alone."""
    return [following - 1 for following in (*kept[1:], layers)]


def show(seed: int, way: str, classifier: tt.TextClassifier, test: tt.data.Split, seconds: float) -> float:
    """Print a line; return the accuracy."""
    accuracy = classifier.report(test)["accuracy"]
    print(f"seed {seed}  {way:22}{accuracy:.4f}{seconds:8.0f} s", flush=True)
    return accuracy


def main(_: list[str]) -> None:
    whole = ["train_examples", "unlabelled", "teacher_epochs", "epochs", "seeds"]
    check_flags({"at least 1": whole}, FLAGS.flag_values_dict())
    if FLAGS.epochs * FLAGS.train_examples % (FLAGS.train_examples + FLAGS.unlabelled):
        raise TransformerError(
            "epochs * train_examples must be a multiple of train_examples + unlabelled, so that all students make as many "
            f"updates; got {FLAGS.epochs} * {FLAGS.train_examples} and {FLAGS.train_examples} + {FLAGS.unlabelled}"
        )
    splits = tt.data.load(train=Path(FLAGS.train_path), test=Path(FLAGS.test_path), validation_fraction=0)
    if FLAGS.train_examples + FLAGS.unlabelled > len(splits.train):
        raise TransformerError(
            f"train_examples and unlabelled must be at most the {len(splits.train)} rows of {FLAGS.train_path}; got "
            f"{FLAGS.train_examples} + {FLAGS.unlabelled}"
        )
    rounds = [run_seed(seed, splits) for seed in range(FLAGS.seeds)]
    for way in rounds[0]:
        values = np.array([found[way] for found in rounds])
        gains = values - [found[WAYS[0]] for found in rounds]
        print(f"{way:22}{values.mean():.4f} (sd {values.std(ddof=1 if len(values) > 1 else 0):.4f})"
              f"  against alone {gains.mean():+.4f}, each {' '.join(f'{gain:+.4f}' for gain in gains)}")  # fmt: skip


if __name__ == "__main__":
    run_command(main)
