"""Batches of shards as `fit` and `evaluate` take them, on TensorFlow and on JAX, and the place in them."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import keras
import numpy as np

from tftransformer.data.shard_batches import Position, ShardBatches

Batch = Mapping[str, np.ndarray]


class TrainingBatches:
    """Endless batches for `fit`, made on another thread, and how many of them the model was trained on.

    Keras and the thread read ahead of the training: the callback that counts finished steps calls `advance`.

    Args:
        batches: Batches to train on.

    Attributes:
        position: Position behind the last batch that was trained on. Set it before `for_fit`.
        tokens: Number of tokens of the batches that were trained on.
    """

    def __init__(self, batches: ShardBatches) -> None:
        self.batches, self.position, self.tokens = batches, Position(), 0
        self._read: deque[tuple[Position, int]] = deque()

    def for_fit(self) -> Any:
        """A `tf.data.Dataset`, or on JAX a generator, to give to `fit` with `steps_per_epoch`."""
        example, _ = next(self.batches.stream(self.position))
        source = prefetched(self.batches.stream(self.position))

        def read() -> Iterator[Batch]:
            for batch, position in source:
                self._read.append((position, int(np.sum(batch["padding_mask"]))))
                yield batch

        if keras.backend.backend() == "tensorflow":
            return _dataset(read, example)
        return ((batch,) for batch in read())

    def advance(self, steps: int = 1) -> None:
        """Count so many more batches that the model was trained on."""
        for _ in range(steps):
            self.position, tokens = self._read.popleft()
            self.tokens += tokens


class _Sequence(keras.utils.PyDataset):
    def __init__(self, batches: Sequence[Batch]) -> None:
        super().__init__()
        self.batches = batches

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, index: int) -> tuple[Batch]:
        return (self.batches[index],)


def for_evaluate(batches: Sequence[Batch]) -> Any:
    """Some batches, such as `ShardBatches.first` gives them, for `evaluate` or as `validation_data`."""
    if keras.backend.backend() != "tensorflow":
        return _Sequence(batches)
    import tensorflow as tf

    return _dataset(lambda: iter(batches), batches[0]).apply(tf.data.experimental.assert_cardinality(len(batches)))


def _dataset(read: Callable[[], Iterable[Batch]], example: Batch) -> Any:
    import tensorflow as tf

    # Ranks and dtypes alone: Keras would fix each length that its first two batches share.
    specs = {name: tf.TensorSpec([None] * array.ndim, array.dtype) for name, array in example.items()}
    return tf.data.Dataset.from_generator(read, output_signature=specs)


def prefetched(source: Iterable[Any], ahead: int = 4) -> Iterator[Any]:
    """Items that are made on another thread while the last one is worked on; what it raises is raised here.

    Example:
        >>> list(prefetched(range(3)))
        [0, 1, 2]
    """
    items = iter(source)
    with ThreadPoolExecutor(1) as thread:
        waiting = deque(thread.submit(next, items) for _ in range(ahead))
        while True:
            try:
                item = waiting.popleft().result()
            except StopIteration:
                return
            waiting.append(thread.submit(next, items))
            yield item
