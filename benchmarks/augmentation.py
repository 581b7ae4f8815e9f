"""Augmentation: the same classifier, rows and number of updates, with and without changed copies.

    python benchmarks/augmentation.py --train_path=SST2/train.tsv --test_path=SST2/stanford_sentences_test.tsv

Each preset is fine-tuned on `--train_examples` rows for every seed, which also chooses the rows, and tested on all test
rows. With c copies of each text an epoch is 1 + c times as long, and there are as many epochs fewer.
"""

import time

import numpy as np
from absl import flags

import tftransformer as tt
from tftransformer.data.split import Split
from tftransformer.data.splitting import subset
from tftransformer.runs.commands import run_command

FLAGS = flags.FLAGS
flags.DEFINE_string("train_path", None, "The training rows.", required=True)
flags.DEFINE_string("test_path", None, "The test rows.", required=True)
flags.DEFINE_list("presets", ["bert_12x192_en_uncased"], "What to fine-tune.")
flags.DEFINE_list("augmentation", ["swap:0.1", "delete:0.1", "synonyms:0.1"], "Operations and rates.")
flags.DEFINE_string("synonyms", "embeddings", "As for Augmentation.")
flags.DEFINE_integer("copies", 1, "Copies of each text; epochs must be a multiple of 1 + copies.")
flags.DEFINE_integer("train_examples", 200, "Training rows.")
flags.DEFINE_integer("epochs", 8, "Epochs without augmentation.")
flags.DEFINE_integer("batch_size", 20, "Rows a batch.")
flags.DEFINE_float("learning_rate", 1e-4, "Of all weights.")
flags.DEFINE_integer("seeds", 3, "Runs of each kind.")


def accuracy(preset: str, train: Split, test: Split, seed: int, augmented: bool) -> tuple[float, int, float]:
    """Return accuracy on the test rows, updates, and seconds of training of one run."""
    import keras  # here, because run_command loads it without TensorFlow's start-up messages

    keras.utils.set_random_seed(seed)
    classifier = tt.TextClassifier.from_preset(preset, labels=train.labels, seed=seed)
    classifier.compile(learning_rate=FLAGS.learning_rate, jit_compile=False)
    augmentation = tt.Augmentation(*FLAGS.augmentation, copies=FLAGS.copies, seed=seed, synonyms=FLAGS.synonyms)
    epochs = FLAGS.epochs // augmentation.rows_per_text if augmented else FLAGS.epochs
    started = time.perf_counter()
    options = {"batch_size": FLAGS.batch_size, "epochs": epochs, "augmentation": augmentation if augmented else None}
    classifier.fit(subset(train, FLAGS.train_examples, seed), verbose=0, **options)
    seconds = time.perf_counter() - started
    probabilities = classifier.predict(test, verbose=0)
    right = probabilities.argmax(axis=1) == classifier.objective.encode(test.targets).values
    return float(right.mean()), int(classifier.optimizer.iterations), seconds


def main(_: list[str]) -> None:
    splits = tt.data.load(train=FLAGS.train_path, test=FLAGS.test_path)
    copies = f"{','.join(FLAGS.augmentation)}, {FLAGS.copies} copies"
    lines = [
        f"| preset | augmentation | updates | {' | '.join(f'seed {s}' for s in range(FLAGS.seeds))} | mean |",
        "| --- " * (4 + FLAGS.seeds) + "|",
    ]
    for preset in FLAGS.presets:
        found: dict[str, list[float]] = {"none": [], copies: []}
        for seed in range(FLAGS.seeds):
            for name, figures in found.items():
                right, updates, seconds = accuracy(preset, splits.train, splits.test, seed, name == copies)
                figures.append(right)
                print(f"{preset}, {name}, seed {seed}: {right:.3f} after {seconds:.0f} s", flush=True)
        for name, figures in found.items():
            shown = " | ".join(f"{value:.3f}" for value in (*figures, np.mean(figures)))
            lines.append(f"| {preset} | {name} | {updates} | {shown} |")
    print("\n".join(lines))


if __name__ == "__main__":
    run_command(main)
