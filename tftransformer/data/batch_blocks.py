"""From planned batches of flat examples to a `tf.data.Dataset`, some dozens of batches at a time.

Handing an element from Python to `tf.data` costs half a millisecond whatever its size, ten times what it takes
to fill a batch. So Python hands over the flat rows of many batches, and TensorFlow's own threads pad them.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from tftransformer.data.dataset_functions import BATCHES_AHEAD, DatasetFunction, without_autotune
from tftransformer.data.examples import ROW_NUMBERS, Examples
from tftransformer.data.targets import Ragged, TargetSpec

if TYPE_CHECKING:
    import tensorflow as tf

BLOCK_BATCHES = 32
# The functions of a pipeline take a tenth of a second to trace and start, each batch beside the others 2 ms.
FEW_BATCHES = 16
Plan = list[tuple[np.ndarray, int]]


def planned_dataset(plan: Callable[[], Plan], examples: Examples, count: int, rows: int | None) -> tf.data.Dataset:
    """Batches in the order of a plan that is made anew in each epoch.

    Args:
        plan: Rows and padded length of each batch of the epoch that begins.
        examples: Examples that the rows belong to.
        count: Batches of every epoch.
        rows: Rows of every batch, None if not all are equal.

    Returns:
        A prefetched dataset of what `Examples.batch` gives, of cardinality `count`.
    """
    return parts_dataset(lambda: iter([(examples, plan())]), examples, count, rows)


def fixed_dataset(plan: Plan, examples: Examples, rows: int | None) -> tf.data.Dataset:
    """Batches that are the same in each epoch; few are made at once, so that a single text is answered soon.

    Args:
        plan: Rows and padded length of each batch.
        examples, rows: As in `planned_dataset`.

    Returns:
        As `planned_dataset`.
    """
    import tensorflow as tf

    if len(plan) > FEW_BATCHES:
        return planned_dataset(lambda: plan, examples, len(plan), rows)
    made = [tf.data.Dataset.from_tensors(examples.batch(*batch)) for batch in plan]
    variant = tf.data.experimental.to_variant(functools.reduce(tf.data.Dataset.concatenate, made))
    # With the shapes of any batch: those of the ones at hand would be traced for themselves.
    return without_autotune(tf.data.experimental.from_variant(variant, _batch_spec(examples, rows)))


def parts_dataset(
    parts: Callable[[], Iterator[tuple[Examples, Plan]]], like: Examples, count: int, rows: int | None
) -> tf.data.Dataset:
    """Batches of examples that are made part by part in each epoch.

    Args:
        parts: Some examples of the epoch that begins and the plan of their batches, until there are no more.
        like: Examples with the same kinds of targets and weights.
        count: Batches of every epoch.
        rows: Rows of every batch, None if not all are equal.

    Returns:
        As `planned_dataset`.
    """
    import tensorflow as tf

    def blocks() -> Iterator:
        for examples, batches in parts():
            for start in range(0, len(batches), BLOCK_BATCHES):
                yield _block(examples, batches[start : start + BLOCK_BATCHES])

    numbers = tf.TensorSpec([None], tf.int32)
    signature: Any = {name: numbers for name in ("token_ids", "lengths", "boundaries", "rows", "padded")}
    if like.numbered:
        signature[ROW_NUMBERS] = tf.TensorSpec([None], tf.int64)
    for name in ("targets", "weights"):
        values = getattr(like, name)
        if isinstance(values, Ragged):
            signature |= {"target_lengths": numbers, "targets_padded": numbers}
            values = values.values
        if values is not None:
            signature[name] = tf.TensorSpec([None, *values.shape[1:]], tf.as_dtype(values.dtype))
    spec = _batch_spec(like, rows)
    source = DatasetFunction(blocks)
    dataset = tf.data.Dataset.from_generator(source, output_signature=signature)
    dataset = source.until_end_of(dataset)
    # Autograph has nothing to convert here, and looking for it takes longer than tracing.
    cut = tf.autograph.experimental.do_not_convert(lambda block: _batches(block, spec, like.pad_id, like.target_spec))
    dataset = dataset.flat_map(cut)
    dataset = dataset.apply(tf.data.experimental.assert_cardinality(count))
    return without_autotune(dataset.prefetch(BATCHES_AHEAD))


def _batch_spec(like: Examples, rows: int | None) -> Any:
    """Of what `Examples.batch` gives, with batches and lengths of any size, or with `rows` rows."""
    import tensorflow as tf

    x = {name: tf.TensorSpec([rows, None], tf.int32) for name in ("token_ids", "segment_ids", "padding_mask")}
    if like.numbered:
        x[ROW_NUMBERS] = tf.TensorSpec([rows], tf.int64)
    if isinstance(like.targets, Ragged):
        if like.target_spec.begin is not None:
            x |= {name: tf.TensorSpec([rows, None], tf.int32) for name in ("decoder_token_ids", "decoder_padding_mask")}
        items = like.targets.values
        y = tf.TensorSpec([rows, None, *items.shape[1:]], tf.as_dtype(items.dtype))
        return x, y, tf.TensorSpec([rows, None], tf.float32)
    rest = [values for values in (like.targets, like.weights) if values is not None]
    rest = [tf.TensorSpec([rows, *values.shape[1:]], tf.as_dtype(values.dtype)) for values in rest]
    return (x, *rest) if rest else x


def _block(examples: Examples, batches: Plan) -> dict[str, np.ndarray]:
    """Flat rows of some batches, how many rows each has, and how long they are padded."""
    rows = np.concatenate([rows for rows, _ in batches])
    part = examples.take(rows)
    block = {
        "token_ids": part.token_ids,
        "lengths": part.lengths.astype("int32"),
        "boundaries": part.boundaries,
        "rows": np.array([len(rows) for rows, _ in batches], "int32"),
        "padded": np.array([length for _, length in batches], "int32"),
        "targets": part.targets,
        "weights": part.weights,
        ROW_NUMBERS: rows if examples.numbered else None,
    }
    if isinstance(part.targets, Ragged):
        lengths = part.targets.lengths
        of_batches = np.split(lengths, np.cumsum(block["rows"])[:-1])
        padded = [examples.target_spec.length(own, length) for own, (_, length) in zip(of_batches, batches)]
        block["targets"] = part.targets.values
        block["target_lengths"] = lengths.astype("int32")
        block["targets_padded"] = np.array(padded, "int32")
    return {name: value for name, value in block.items() if value is not None}


def _batches(block: dict[str, tf.Tensor], spec: Any, pad_id: int, targets: TargetSpec) -> tf.data.Dataset:
    """The batches of a block, padded: what `Examples.batch` gives."""
    import tensorflow as tf

    ends = tf.cumsum(block["rows"])
    token_ends = tf.concat([[0], tf.cumsum(block["lengths"])], 0)

    def batch(number: tf.Tensor, first: tf.Tensor, end: tf.Tensor) -> Any:
        length = block["padded"][number]
        lengths = block["lengths"][first:end]
        ids = block["token_ids"][token_ends[first] : token_ends[end]]
        ids = tf.RaggedTensor.from_row_lengths(ids, lengths, validate=False)
        mask = tf.sequence_mask(lengths, length, tf.int32)
        x = {
            "token_ids": ids.to_tensor(pad_id, shape=tf.stack([-1, length])),
            "segment_ids": mask - mask * tf.sequence_mask(block["boundaries"][first:end], length, tf.int32),
            "padding_mask": mask,
        }
        if ROW_NUMBERS in block:
            x[ROW_NUMBERS] = block[ROW_NUMBERS][first:end]
        if "target_lengths" in block:
            rest = _padded_targets(block, number, first, end, targets)
            if targets.begin is not None:
                # As `TargetSpec.decoder_inputs`.
                before = tf.fill([tf.shape(rest[0])[0], 1], tf.cast(targets.begin, tf.int32))
                x["decoder_token_ids"] = tf.concat([before, tf.cast(rest[0][:, :-1], tf.int32)], 1)
                lengths = block["target_lengths"][first:end]
                x["decoder_padding_mask"] = tf.sequence_mask(lengths, tf.shape(rest[0])[1], tf.int32)
        else:
            rest = [block[name][first:end] for name in ("targets", "weights") if name in block]
        values = (x, *rest) if rest else x
        return tf.nest.map_structure(lambda value, like: tf.ensure_shape(value, like.shape), values, spec)

    places = tf.data.Dataset.from_tensor_slices((tf.range(tf.size(ends)), ends - block["rows"], ends))
    return places.map(tf.autograph.experimental.do_not_convert(batch))


def _padded_targets(
    block: dict[str, tf.Tensor], number: tf.Tensor, first: tf.Tensor, end: tf.Tensor, spec: TargetSpec
) -> list[tf.Tensor]:
    """Targets and weights of a batch of rows that grow: what `TargetSpec.padded` gives."""
    import tensorflow as tf

    lengths, longest = block["target_lengths"][first:end], block["targets_padded"][number]
    item_ends = tf.concat([[0], tf.cumsum(block["target_lengths"])], 0)
    items = block["targets"][item_ends[first] : item_ends[end]]
    rows = tf.RaggedTensor.from_row_lengths(items, lengths, validate=False)
    y = rows.to_tensor(tf.cast(spec.pad, items.dtype), shape=tf.stack([-1, longest, *items.shape[1:]]))
    counts = tf.sequence_mask(lengths, longest)
    if spec.ignore is not None:
        ignored = (y == spec.ignore) & counts
        counts &= ~ignored
        y = tf.where(ignored, tf.zeros_like(y), y)
    weights = tf.cast(counts, tf.float32)
    return [y, weights * block["weights"][first:end, tf.newaxis] if "weights" in block else weights]
