"""The time of one training step: the operations of TensorFlow's own profiler, by the part they belong to.

    python benchmarks/profile_step.py
    python benchmarks/profile_step.py --precision=bfloat16 --length=16

A classifier of MiniLM's shape with random weights is trained for a few steps on random ids. Times are sums over
operations, several of which may run at once, so read the shares; what XLA compiled (GELU) shows as one operation.
"""

import collections
import glob
import tempfile
from typing import Any

import numpy as np
from absl import flags
from sidebyside.table import Column, markdown

from tftransformer.errors import TransformerError
from tftransformer.runs.commands import run_command

FLAGS = flags.FLAGS
flags.DEFINE_integer("num_layers", 6, "Blocks.")
flags.DEFINE_integer("hidden_dim", 384, "Width; heads are 32 wide.")
flags.DEFINE_integer("batch_size", 16, "Rows.")
flags.DEFINE_integer("length", 128, "Tokens a row.")
flags.DEFINE_enum("precision", "float32", ["float32", "bfloat16"], "Of the step.")

STEPS = 4
# The first of these in an operation's name, which begins with the layers it belongs to, says its part.
PARTS = {
    "adamw": "optimizer",
    "dropout": "dropout",
    "norm": "norms",
    "feed_forward": "feed-forward, rest",
    "attention": "attention, rest",
    "embeddings": "embeddings",
}


def build() -> Any:
    """Build the classifier, compiled as `compile()` does it."""
    import tftransformer as tt

    if FLAGS.hidden_dim % 32 or min(FLAGS.hidden_dim, FLAGS.num_layers, FLAGS.batch_size, FLAGS.length) < 1:
        raise TransformerError(
            "num_layers, batch_size and length must be positive, hidden_dim a multiple of 32; got "
            f"{FLAGS.num_layers}, {FLAGS.batch_size}, {FLAGS.length} and {FLAGS.hidden_dim}"
        )
    config = tt.TransformerConfig(
        vocabulary_size=30522, num_layers=FLAGS.num_layers, hidden_dim=FLAGS.hidden_dim, num_heads=FLAGS.hidden_dim // 32,
        intermediate_dim=4 * FLAGS.hidden_dim, max_sequence_length=max(512, FLAGS.length),
    )  # fmt: skip
    tokenizer = tt.load_preset("bert_12x192_en_uncased").tokenizer.build()
    dtype = "mixed_bfloat16" if FLAGS.precision == "bfloat16" else None
    classifier = tt.TextClassifier(config, tokenizer, ("no", "yes"), dtype=dtype)
    classifier.compile(learning_rate=1e-4, schedule="constant")
    return classifier


def profile(classifier: Any, folder: str) -> None:
    """Run a few steps, the later ones under the profiler, which leaves its file in the folder."""
    import tensorflow as tf

    draw = np.random.default_rng(0)
    shape = (FLAGS.batch_size, FLAGS.length)
    ids = draw.integers(1000, 30000, shape).astype("int32")
    batch = {"token_ids": ids, "segment_ids": np.zeros_like(ids), "padding_mask": np.ones_like(ids)}
    labels = draw.integers(0, 2, FLAGS.batch_size).astype("int32")
    for step in range(STEPS + 3):
        if step == 3:
            tf.profiler.experimental.start(folder)
        classifier.train_on_batch(batch, labels)
    tf.profiler.experimental.stop()


def milliseconds_by_part(folder: str) -> dict[str, float]:
    """Return the milliseconds a step of every part, the longest first."""
    from tensorflow.tsl.profiler.protobuf import xplane_pb2

    space = xplane_pb2.XSpace()
    with open(glob.glob(f"{folder}/**/*.xplane.pb", recursive=True)[0], "rb") as file:
        space.ParseFromString(file.read())
    found: collections.Counter[str] = collections.Counter()
    for plane in space.planes:
        for line in plane.lines:
            for event in line.events:
                name, _, kind = plane.event_metadata[event.metadata_id].name.rpartition(":")
                if "/" in name:
                    found[_part(name, kind)] += event.duration_ps / 1e9 / STEPS
    return dict(found.most_common())


def _part(name: str, kind: str) -> str:
    if "MatMul" in kind:
        return "matrix products"
    return next((part for mark, part in PARTS.items() if mark in name), "the rest")


def main(_: list[str]) -> None:
    classifier = build()
    with tempfile.TemporaryDirectory() as folder:
        profile(classifier, folder)
        parts = milliseconds_by_part(folder)
    total = sum(parts.values())
    rows = []
    for part, value in parts.items():
        rows.append({"name": part, "failure": None, "figures": {}, "ready": {"ms": value, "fraction": value / total}})
    print(markdown(rows, [Column("ms a step", "ms", ",.1f"), Column("fraction", "fraction", ".0%")]))


if __name__ == "__main__":
    run_command(main)
