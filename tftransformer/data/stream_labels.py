"""The labels of a `tf.data.Dataset` as ids, inside tf.data: on the host, whatever the device that trains.

The rule is that of `data.labels`, whose table of names is looked up here.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tftransformer.data.labels import WHOLE_DECIMAL, is_number, label_ids, label_name, rule_for
from tftransformer.data.texts import WEIGHT_RULE
from tftransformer.errors import TransformerError

if TYPE_CHECKING:
    import tensorflow as tf

# All that `str.strip` takes away; RE2's \s is ASCII alone.
_SPACE = r"[\s\v\x1c-\x1f\x{85}\p{Z}]+"
# TensorFlow's assertion puts each part of its message into brackets of its own.
_REFUSAL = re.compile(
    r"\[((?:y|sample_weight) must [^\n]*; got)\] \[(.*?)\] \[(in row)\] \[(\d+)\] \[(\(from 0\)[^\n\]]*)\]", re.S
)


def stream_encoder(labels: Sequence[str], multi_label: bool = False) -> Callable[[Any], tf.Tensor]:
    """The labels of a batch as the numbers that the loss takes.

    Args:
        labels: The C label names.
        multi_label: Whether a row has any number of labels.

    Returns:
        A function to int32 (B,), or float32 (B, C) for multi-label data, from strings, numbers or booleans (B,) or
        (B, 1); from numbers (B, C), one column for each label; and for multi-label data from labels (B, None), ragged,
        or strings filled up with "". A value that means no class stops the run with an error that
        `plain_refusals` makes readable.

    Raises:
        TransformerError: from that function, for labels that are no tensor or have another shape.
    """
    import tensorflow as tf

    look_up, rule = _lookup(label_ids(labels)), f"{rule_for(labels)}; got"

    def ids_of(values: tf.Tensor, rows: tf.Tensor) -> tf.Tensor:
        ids = look_up(values)
        with tf.control_dependencies([_check(ids >= 0, rule, values, rows)]):
            return tf.identity(ids)

    def encode(label: Any) -> tf.Tensor:
        ragged = isinstance(label, tf.RaggedTensor)
        if not ragged and not isinstance(label, tf.Tensor):
            raise TransformerError(f"y must be one tensor in a tf.data.Dataset; got a {type(label).__name__}")
        columns = label.shape.rank == 2 and not ragged and label.dtype != tf.string
        if columns and (multi_label or label.shape[1] != 1):
            return _from_columns(label, len(labels), multi_label)
        if multi_label:
            return _marks(label, len(labels), ids_of)
        if label.shape.rank not in (None, 1) and label.shape[1:].num_elements() != 1:
            raise TransformerError(f"y must be one label a text, or {len(labels)} columns; got shape {label.shape}")
        flat = tf.reshape(label, [-1])
        return ids_of(flat, tf.range(tf.size(flat)))

    return encode


def plain_refusals(method: Callable) -> Callable:
    """A method that reads datasets: what `stream_encoder` refused becomes a `TransformerError` of one line."""

    @functools.wraps(method)
    def plainly(*arguments: Any, **options: Any) -> Any:
        import tensorflow as tf

        try:
            return method(*arguments, **options)
        except tf.errors.InvalidArgumentError as error:
            found = _REFUSAL.search(str(error))
            if found is None:
                raise
            raise TransformerError(" ".join(found.groups())) from None

    return plainly


def _lookup(known: Mapping[str, int]) -> Callable[[tf.Tensor], tf.Tensor]:
    """From values (N,) to ids int32 (N,), -1 for what means no class."""
    import tensorflow as tf

    names, ids = tf.constant(list(known), tf.string), tf.constant(list(known.values()), tf.int32)
    table = tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer(names, ids), -1)
    # TensorFlow writes six digits of a fraction, so fractions are found by value.
    numbers = {name: float(name) for name in known if is_number(name) and label_name(float(name)) == name}
    number_ids = tf.constant([*(known[name] for name in numbers), -1], tf.int32)

    def look_up(values: tf.Tensor) -> tf.Tensor:
        if values.dtype.is_floating:
            same = values[:, tf.newaxis] == tf.constant(list(numbers.values()), values.dtype)
            none = tf.reduce_all(~same, axis=1, keepdims=True)
            return tf.gather(number_ids, tf.argmax(tf.concat([same, none], 1), 1))
        if values.dtype == tf.bool:
            return table.lookup(tf.where(values, "True", "False"))
        return table.lookup(_written(values) if values.dtype == tf.string else tf.strings.as_string(values))

    return look_up


def _written(values: tf.Tensor) -> tf.Tensor:
    """`data.labels.label_name` of strings."""
    import tensorflow as tf

    stripped = tf.strings.regex_replace(values, f"^{_SPACE}|{_SPACE}$", "")
    names = tf.strings.regex_replace(stripped, WHOLE_DECIMAL, r"\1")
    return tf.where((names == "-0") & (stripped != "-0"), "0", names)


def _from_columns(label: tf.Tensor, count: int, multi_label: bool) -> tf.Tensor:
    import tensorflow as tf

    if label.shape[1] not in (None, count):
        raise TransformerError(f"y must have one column for each of the {count} labels; got {label.shape[1]}")
    columns = tf.cast(tf.ensure_shape(label, [None, count]), tf.float32)
    if multi_label:
        right, rule = (columns >= 0) & (columns <= 1), "y must have numbers from 0 to 1 in each row; got"
    else:
        right = tf.math.is_finite(columns) & tf.reduce_any(columns != 0, axis=1, keepdims=True)
        rule = "y must have a number other than 0 in the column of its label in each row; got"
    rows = tf.range(tf.shape(columns)[0])
    with tf.control_dependencies([_check(tf.reduce_all(right, axis=1), rule, columns, rows)]):
        return tf.identity(columns) if multi_label else tf.argmax(columns, axis=1, output_type=tf.int32)


def _marks(label: Any, count: int, ids_of: Callable) -> tf.Tensor:
    """float32 (B, C), 1 at the labels of each row."""
    import tensorflow as tf

    if not isinstance(label, tf.RaggedTensor):
        label = tf.reshape(label, [-1, 1]) if label.shape.rank != 2 else label
        filled = tf.ones_like(label, tf.bool) if label.dtype != tf.string else _written(label) != ""
        label = tf.ragged.boolean_mask(label, filled)
    rows = tf.cast(label.value_rowids(), tf.int32)
    marks = tf.one_hot(ids_of(label.flat_values, rows), count)
    marks = tf.math.unsorted_segment_sum(marks, rows, tf.cast(label.nrows(), tf.int32))
    return tf.minimum(marks, 1.0)


def checked_weights(weights: tf.Tensor) -> tf.Tensor:
    """The weights (B, ...) of a batch's rows; one that is negative or not finite stops the run."""
    import tensorflow as tf

    count = tf.shape(weights)[0]
    values = tf.reshape(tf.cast(weights, tf.float32), [count, -1])
    right = tf.reduce_all(tf.math.is_finite(values) & (values >= 0), axis=1)
    with tf.control_dependencies([_check(right, WEIGHT_RULE, values, tf.range(count))]):
        return tf.identity(weights)


def _check(right: tf.Tensor, rule: str, values: tf.Tensor, rows: tf.Tensor) -> tf.Operation:
    """Stop at the first row that is wrong, with its value."""
    import tensorflow as tf

    def refuse() -> tf.Operation:
        at = tf.argmin(tf.cast(right, tf.int32))
        parts = [rule, values[at], "in row", rows[at], "(from 0) of a batch"]
        return tf.debugging.Assert(False, parts, summarize=8)

    return tf.cond(tf.reduce_all(right), tf.no_op, refuse)
