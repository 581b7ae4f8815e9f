"""Integer batches for Keras: shuffled, bucketed by length, batched and prefetched.

`token_batches` is for training: all batches but one have `batch_size` rows, their number is known
before the first one is made, and nothing is dropped. `ordered_batches` is for prediction: rows are sorted
by length over the whole set, which leaves the least padding there can be, and the permutation that
undoes it is returned. `stream_batches` follows a `tf.data.Dataset` of the user's without holding it.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tftransformer.data.batch_blocks import Plan, fixed_dataset, planned_dataset
from tftransformer.data.buckets import DEFAULT_LENGTHS, bucket_of
from tftransformer.data.dataset_functions import BATCHES_AHEAD, without_autotune
from tftransformer.data.examples import Examples, num_batches
from tftransformer.data.stream_labels import checked_weights
from tftransformer.data.texts import is_batched
from tftransformer.errors import TransformerError

if TYPE_CHECKING:
    import tensorflow as tf

# Padding halves with each doubling, and so does what chance has to say about which rows meet in a batch.
WINDOW_BATCHES = 100


@dataclass
class Epoch:
    """The number of the epoch, where somebody outside keeps it.

    Keras may start an iteration only to look at a first batch (it does under `tf.distribute`), and a
    resumed run starts in the middle; a callback that sets `number` in `on_epoch_begin` gives epoch e the
    same order in all these cases.
    """

    number: int = 0


def epoch_numbers(epoch: Epoch | None) -> Callable[[], int]:
    """A function that gives the number of the epoch that begins: `epoch`'s, or without one how often it was called."""
    return itertools.count().__next__ if epoch is None else lambda: epoch.number


def count_batches(num_examples: int, batch_size: int) -> int:
    """`num_batches`, of which there must be one at least."""
    if not (count := num_batches(num_examples, batch_size)):
        raise TransformerError("there are no examples to make batches of")
    return count


def plan_epoch(
    lengths: np.ndarray,
    batch_size: int,
    boundaries: Sequence[int] | None,
    rng: np.random.Generator,
    order: np.ndarray | None = None,
) -> Plan:
    """Rows and padded length of each batch of one shuffled epoch.

    With boundaries, the rows of a bucket that do not fill a batch move to the next longer bucket, so
    that only the last batch is short. Without, windows of about 100 batches of shuffled rows are sorted by
    length and each batch is as long as its longest row: the least padding, but many shapes.

    Args:
        lengths: (B,) tokens of each row.
        batch_size: Rows a batch.
        boundaries: Rising padded lengths, or None.
        rng: Source of randomness.
        order: (B,) what rows are sorted by, where there are no boundaries; None: their lengths.

    Returns:
        `num_batches(B, batch_size)` pairs (row indices, padded length), in shuffled order.

    Example:
        >>> plan = plan_epoch(np.array([3, 9, 4]), 2, (4, 10), np.random.default_rng(0))
        >>> sorted((len(rows), length) for rows, length in plan)
        [(1, 10), (2, 4)]
    """
    num_batches(len(lengths), batch_size)
    shuffled = rng.permutation(len(lengths))
    plan: Plan = []
    if boundaries is None:
        keys = lengths if order is None else order
        for rows in row_windows(shuffled, batch_size):
            rows = rows[np.argsort(keys[rows], kind="stable")]
            plan.extend(in_order(rows, lengths, batch_size, None))
    else:
        buckets = bucket_of(lengths[shuffled], boundaries)
        left = np.zeros(0, "int64")
        for bucket, boundary in enumerate(boundaries):
            rows = np.concatenate([left, shuffled[buckets == bucket]])
            # Shuffled again, or the rows left over would always come first.
            rng.shuffle(rows)
            full = len(rows) - len(rows) % batch_size
            plan.extend((rows[i : i + batch_size], int(boundary)) for i in range(0, full, batch_size))
            left = rows[full:]
        if len(left):
            plan.append((left, int(boundaries[bucket_of(lengths[left].max(), boundaries)])))
    return [plan[i] for i in rng.permutation(len(plan))]


def row_windows(order: np.ndarray, batch_size: int) -> list[np.ndarray]:
    """Whole batches in windows of nearly one size: a small one at the end would pad much."""
    batches = num_batches(len(order), batch_size)
    edges = np.linspace(0, batches, max(1, round(batches / WINDOW_BATCHES)) + 1).astype("int64")
    return np.split(order, edges[1:-1] * batch_size)


def token_batches(
    examples: Examples,
    batch_size: int,
    *,
    boundaries: Sequence[int] | None = None,
    shuffle: bool = True,
    seed: int = 0,
    epoch: Epoch | None = None,
) -> tf.data.Dataset:
    """Batches for `fit`: a new seeded order in each epoch, every example once an epoch.

    Args:
        examples: Examples from `build_examples`.
        batch_size: Rows a batch (the global batch under `tf.distribute`).
        boundaries: Padded lengths from `length_buckets`, where each new shape is compiled (XLA); None
            pads each batch to its longest row.
        shuffle: False keeps the order of the examples, as for validation during training.
        seed: Random seed: epoch e of two datasets with one seed has the same order.
        epoch: `Epoch` that keeps the number of the epoch; None counts the iterations over the dataset.

    Returns:
        `tf.data.Dataset` of (x, y), (x, y, weight) or x, with x a dict of int32 (B, T), of known
        cardinality.

    Raises:
        TransformerError: if there are no examples, batch_size is below 1, or the boundaries too short.
    """
    count = count_batches(len(examples), batch_size)
    lengths = examples.lengths
    if boundaries is not None:
        bucket_of(lengths, boundaries)
    rows = _equal_rows(examples, batch_size)
    if not shuffle:
        return fixed_dataset(in_order(np.arange(len(lengths)), lengths, batch_size, boundaries), examples, rows)
    number = epoch_numbers(epoch)

    def plan() -> Plan:
        return plan_epoch(lengths, batch_size, boundaries, np.random.default_rng([seed, number()]), examples.order)

    return planned_dataset(plan, examples, count, rows)


def ordered_batches(
    examples: Examples, batch_size: int, *, boundaries: Sequence[int] | None = None
) -> tuple[tf.data.Dataset, np.ndarray]:
    """Batches for `predict` and `evaluate`, sorted by length over the whole set.

    Args:
        examples: Examples from `build_examples`.
        batch_size: Rows a batch.
        boundaries: Padded lengths, as in `token_batches`.

    Returns:
        (dataset, inverse): `outputs[inverse]` is in the order of the examples.

    Raises:
        TransformerError: as `token_batches`.
    """
    count_batches(len(examples), batch_size)
    order = np.argsort(examples.order, kind="stable")
    plan = in_order(order, examples.lengths, batch_size, boundaries)
    dataset = fixed_dataset(plan, examples, _equal_rows(examples, batch_size))
    return dataset, np.argsort(order, kind="stable")


def _equal_rows(examples: Examples, batch_size: int) -> int | None:
    """Rows of each batch where all are full."""
    return batch_size if len(examples) % batch_size == 0 else None


def in_order(order: np.ndarray, lengths: np.ndarray, batch_size: int, boundaries: Sequence[int] | None) -> Plan:
    """The plan of batches that keep an order of the rows."""
    plan = []
    for start in range(0, len(order), batch_size):
        chunk = order[start : start + batch_size]
        longest = lengths[chunk].max()
        if boundaries is not None:
            longest = boundaries[bucket_of(longest, boundaries)]
        plan.append((chunk, int(longest)))
    return plan


def stream_batches(
    dataset: tf.data.Dataset,
    batch_size: int,
    *,
    tokenize: Callable,
    pack: Callable,
    sequence_length: int,
    encode_labels: Callable | None = None,
    lengths: Sequence[int] = DEFAULT_LENGTHS,
    pad_id: int = 0,
) -> tf.data.Dataset:
    """Tokenises a `tf.data.Dataset` of texts batch by batch, in its own order and with its own batches.

    Args:
        dataset: Dataset of text, (text, label) or (text, label, weight), where text is a string, a tuple of two
            or a dict with `text` and `text_pair`. Batched datasets keep their batches.
        batch_size: Rows a batch of a dataset that is not batched.
        tokenize, pack: Callables, as in `build_examples`.
        sequence_length: Longest sequence; the last padded length.
        encode_labels: Callable from the labels of a batch to what the loss takes, such as `stream_labels.stream_encoder`;
            None leaves them.
        lengths: Padded lengths; a batch takes the first that holds its longest row, so that few shapes
            are compiled.
        pad_id: Id that pads.

    Returns:
        `tf.data.Dataset` as from `token_batches`; its cardinality is that of the source, if known.
    """
    import tensorflow as tf

    if not is_batched(dataset):
        num_batches(0, batch_size)
        dataset = dataset.batch(batch_size)
    steps = tf.constant([*(n for n in lengths if n < sequence_length), sequence_length], tf.int32)

    def features(text):
        if isinstance(text, dict):
            text = (text["text"], text["text_pair"]) if "text_pair" in text else (text["text"],)
        sides = [tokenize(side) for side in (text if isinstance(text, tuple) else (text,))]
        packed = pack(*sides)
        needed = tf.shape(packed["token_ids"])[1]
        length = tf.reduce_min(tf.boolean_mask(steps, steps >= needed))
        extra = length - needed
        pad = {"token_ids": pad_id}
        return {
            key: tf.cast(tf.pad(value, [[0, 0], [0, extra]], constant_values=pad.get(key, 0)), tf.int32)
            for key, value in packed.items()
        }

    def convert(*row):
        text, rest = row[0], row[1:]
        if not rest:
            return features(text)
        target = rest[0] if encode_labels is None else encode_labels(rest[0])
        return (features(text), target, *map(checked_weights, rest[1:]))

    # Autograph has nothing to convert here, looking for it takes seconds, and it would wrap our errors.
    step = features if isinstance(dataset.element_spec, dict) else convert
    step = tf.autograph.experimental.do_not_convert(step)
    mapped = dataset.map(step, num_parallel_calls=tf.data.AUTOTUNE)
    return without_autotune(mapped.prefetch(BATCHES_AHEAD))
