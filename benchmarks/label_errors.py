"""Wrong labels found among clean rows of which some labels were flipped, by what `--check_labels` does.

    python benchmarks/label_errors.py --train_path=SST2/train.tsv --presets=MINILM,bert_12x192_en_uncased

`--fraction` of `--rows` rows are given another label. Precision is the fraction of the named rows that were flipped, recall
that of the flipped rows that are named; the data's own mistakes count as wrongly named.
"""

import dataclasses
import time

import numpy as np
from absl import flags

import tftransformer as tt
from tftransformer.data.split import Split
from tftransformer.data.splitting import subset
from tftransformer.runs.commands import run_command

FLAGS = flags.FLAGS
flags.DEFINE_string("train_path", None, "The rows.", required=True)
flags.DEFINE_list("presets", ["bert_12x192_en_uncased"], "Encoders, whose vectors are looked at.")
flags.DEFINE_list("rows", ["1000", "5000"], "How many rows.")
flags.DEFINE_float("fraction", 0.05, "Fraction of the labels that is flipped.")
flags.DEFINE_integer("sequence_length", 64, "Longest text in tokens.")
flags.DEFINE_integer("seed", 0, "Random seed of the rows, of what is flipped and of the folds.")


def flipped(split: Split, fraction: float, seed: int) -> tuple[Split, np.ndarray]:
    """Return the rows with some labels replaced by the next one, and (B,) which."""
    draw = np.random.default_rng(seed)
    chosen = draw.random(len(split)) < fraction
    following = dict(zip(split.labels, split.labels[1:] + split.labels[:1], strict=True))
    targets = [following[t] if wrong else t for t, wrong in zip(split.targets, chosen, strict=True)]
    return dataclasses.replace(split, targets=targets), chosen


def main(_: list[str]) -> None:
    from tftransformer.runs.label_check import check_labels  # here, as run_command loads it without start-up messages

    train = tt.data.load(train=FLAGS.train_path, validation_fraction=0.0, test_fraction=0.0).train
    print("| preset | rows | flipped | named | precision | recall | precision of the clearest half | s |")
    print("| --- | --: | --: | --: | --: | --: | --: | --: |")
    for preset in FLAGS.presets:
        for count in map(int, FLAGS.rows):
            split, wrong = flipped(subset(train, count, FLAGS.seed), FLAGS.fraction, FLAGS.seed)
            classifier = tt.TextClassifier.from_preset(
                preset, labels=split.labels, sequence_length=FLAGS.sequence_length, pooling="mean"
            )
            started = time.perf_counter()
            found = check_labels(classifier, split, classifier.preprocess(split), FLAGS.seed).rows
            seconds = time.perf_counter() - started
            half = found[: int(wrong.sum()) // 2]
            print(
                f"| {preset.rstrip('/').split('/')[-1]} | {count:,} | {wrong.sum()} | {len(found)} | {wrong[found].mean():.2f} | "
                f"{wrong[found].sum() / wrong.sum():.2f} | {wrong[half].mean():.2f} | {seconds:.0f} |",
                flush=True,
            )


if __name__ == "__main__":
    run_command(main)
