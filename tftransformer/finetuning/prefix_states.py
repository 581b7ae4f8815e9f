"""Batches of stored hidden vectors in place of token ids."""

import hashlib
from typing import Any

import numpy as np

from tftransformer.data.autotuning import BATCHES_AHEAD
from tftransformer.data.dataset_functions import DatasetFunction
from tftransformer.finetuning.frozen_prefix import FrozenPrefix
from tftransformer.finetuning.prefix_store import PrefixStore


class StoredStates:
    """Turns batches of token ids into batches of what the frozen part makes of them.

    Args:
        store: Holds every row that will come.
        prefix: The frozen part.
    """

    def __init__(self, store: PrefixStore, prefix: FrozenPrefix) -> None:
        self._store, self._entry, self._reach, self._dtype = store, prefix.entry, prefix.reach, prefix.dtype

    def batches(self, dataset: Any) -> Any:
        """A `tf.data.Dataset` of x, (x, y) or (x, y, weight) with other x and everything else, order too, as it was.

        x holds `pooled` (B, D), or `states_after_{n}` (B, T, D) and `padding_mask`, of which T is 1 where only
        the first token's vectors are looked at.
        """
        import tensorflow as tf

        def look_up(token_ids: np.ndarray, segment_ids: np.ndarray, padding_mask: np.ndarray) -> np.ndarray:
            lengths = padding_mask.sum(axis=1)
            boundaries = lengths - (segment_ids * padding_mask).sum(axis=1)
            digests = [
                row_digest(ids[:length], boundary)
                for ids, length, boundary in zip(token_ids, lengths, boundaries)
            ]
            return self._store.padded(digests, token_ids.shape[1] if self._reach == "tokens" else 1)

        stored = DatasetFunction(look_up)

        def swap(x: dict, *rest: Any) -> Any:
            given = [x["token_ids"], x["segment_ids"], x["padding_mask"]]
            states = tf.numpy_function(stored, given, tf.as_dtype(self._store.dtype), stateful=False)
            rows, length = x["token_ids"].shape
            states.set_shape([rows, length if self._reach == "tokens" else 1, self._store.width])
            states = tf.cast(states, self._dtype)
            mask = x["padding_mask"] if self._reach == "tokens" else x["padding_mask"][:, :1]
            x = {self._entry: states, "padding_mask": mask}
            if self._reach == "pooled":
                x = {self._entry: states[:, 0]}
            return (x, *rest) if rest else x

        swapped = dataset.map(swap, num_parallel_calls=tf.data.AUTOTUNE)
        return stored.until_end_of(swapped).prefetch(BATCHES_AHEAD)


def row_digest(token_ids: np.ndarray, boundary: int) -> bytes:
    """What a row is found by: a hash of its tokens and of how many of them belong to segment 0.

    Example:
        >>> len(row_digest(np.array([2, 7, 3]), 3))
        16
    """
    content = np.ascontiguousarray(token_ids, "<i4").tobytes() + int(boundary).to_bytes(4, "little")
    return hashlib.blake2b(content, digest_size=16).digest()
