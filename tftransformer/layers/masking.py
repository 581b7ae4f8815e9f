"""Attention masks as pure functions: 1 or True means "look at it"."""

from typing import Any

from keras import ops


def causal_mask(query_length: Any, key_length: Any, offset: Any = 0) -> Any:
    """(1, T, S) mask in which query t sees keys 0 to `offset + t`.

    Args:
        query_length: T.
        key_length: S.
        offset: Position of the first query among the keys: the number of keys already in a cache.

    Returns:
        Boolean tensor of shape (1, T, S).

    Example:
        >>> causal_mask(2, 3, offset=1).numpy().astype(int)
        array([[[1, 1, 0],
                [1, 1, 1]]])
    """
    queries = ops.expand_dims(ops.arange(query_length, dtype="int32"), 1) + ops.cast(offset, "int32")
    keys = ops.expand_dims(ops.arange(key_length, dtype="int32"), 0)
    return ops.expand_dims(keys <= queries, 0)


def merge_padding(first: Any = None, second: Any = None) -> Any:
    """The positions that both (B, S) masks call real; None, for all of them, where neither is given."""
    if first is None or second is None:
        return second if first is None else first
    return ops.logical_and(ops.cast(first, "bool"), ops.cast(second, "bool"))


def merge_masks(padding_mask: Any = None, attention_mask: Any = None, causal: Any = None) -> Any:
    """One boolean (B, T, S) mask that allows what all the given ones allow; None where none is given.

    Args:
        padding_mask: Mask (B, S), which keys are real.
        attention_mask: Mask (B, T, S) or (T, S), which query may see which key.
        causal: (1, T, S), from `causal_mask`.

    Returns:
        Boolean tensor that broadcasts to (B, T, S), or None.
    """
    merged = None
    if padding_mask is not None:
        merged = ops.expand_dims(ops.cast(padding_mask, "bool"), 1)
    if attention_mask is not None:
        attention_mask = ops.cast(attention_mask, "bool")
        if len(attention_mask.shape) == 2:
            attention_mask = ops.expand_dims(attention_mask, 0)
        merged = attention_mask if merged is None else ops.logical_and(merged, attention_mask)
    if causal is not None:
        merged = causal if merged is None else ops.logical_and(merged, causal)
    return merged
