"""Batches of texts that are changed and tokenised anew in each epoch, while the ones before are trained on.

The originals are tokenised once. An epoch is made in windows of some thousand rows, one window ahead, so that it takes
neither the memory of all its texts nor the time of making them.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from tftransformer.data.augmentation.pipeline import Augmentation
from tftransformer.data.batch_blocks import Plan, parts_dataset
from tftransformer.data.examples import Examples, build_examples, joined
from tftransformer.data.pipeline import Epoch, in_order, num_batches, plan_epoch, row_windows
from tftransformer.data.row_packing import Packer
from tftransformer.data.texts import Texts
from tftransformer.errors import TransformerError

if TYPE_CHECKING:
    import tensorflow as tf

Item = TypeVar("Item")


def augmented_batches(
    augmentation: Augmentation,
    records: Texts,
    examples: Examples,
    batch_size: int,
    *,
    tokenize: Callable,
    pack: Packer,
    boundaries: Sequence[int] | None = None,
    shuffle: bool = True,
    seed: int = 0,
    epoch: Epoch | None = None,
) -> tf.data.Dataset:
    """As `token_batches`, of texts and changed copies of them.

    Args:
        augmentation: Its `prepare` has seen the records.
        records: The texts that the examples are made of, in the same order.
        examples: From `build_examples`, with the labels.
        batch_size: Rows a batch (the global batch under `tf.distribute`).
        tokenize, pack: As in `build_examples`.
        boundaries: As in `token_batches`; the last one is raised to the packer's `sequence_length`, which a changed text
            may reach.
        shuffle: False keeps the order, each text before its copies.
        seed: Of the order.
        epoch: Who keeps the number of the epoch; None counts the iterations over the dataset.

    Returns:
        `tf.data.Dataset` of (x, y), (x, y, weight) or x; `rows_per_text` rows for each example.

    Raises:
        TransformerError: if there are no examples, not as many as records, or batch_size is below 1.
    """
    if len(records) != len(examples):
        raise TransformerError(f"records must be as many as examples, {len(examples)}; got {len(records)}")
    total = len(examples) * augmentation.rows_per_text
    count = num_batches(total, batch_size)
    if not count:
        raise TransformerError("there are no examples to make batches of")
    if boundaries is not None:
        boundaries = tuple(dict.fromkeys([*(b for b in boundaries if b < pack.sequence_length), pack.sequence_length]))
    started = Epoch()

    def window(rows: np.ndarray, number: int) -> Examples:
        texts, copies = np.divmod(rows, augmentation.rows_per_text)
        # Where texts are kept, the first row of each is the text itself.
        copies = copies - 1 if augmentation.copies else copies
        kept, new = np.flatnonzero(copies < 0), np.flatnonzero(copies >= 0)
        changed = augmentation.augment(records, texts[new], copies[new], number)
        made = build_examples(changed, tokenize=tokenize, pack=pack, pad_id=examples.pad_id, stream=io.StringIO())
        both = joined([examples.take(texts[kept]), made.labelled_as(examples, texts[new])])
        return both.take(np.argsort(np.concatenate([kept, new])))

    def windows(number: int) -> Iterator[tuple[Examples, Plan]]:
        draw = np.random.default_rng([seed, number])
        order = np.arange(total)
        # One window is shuffled by its plan alone, as it is without augmentation.
        if shuffle and len(row_windows(order, batch_size)) > 1:
            order = draw.permutation(total)
        for rows in row_windows(order, batch_size):
            part = window(rows, number)
            if shuffle:
                yield part, plan_epoch(part.lengths, batch_size, boundaries, draw)
            else:
                yield part, in_order(np.arange(len(part)), part.lengths, batch_size, boundaries)

    def parts() -> Iterator[tuple[Examples, Plan]]:
        number = started.number if epoch is None else epoch.number
        started.number += 1
        return one_ahead(windows(number))

    return parts_dataset(parts, examples, count, batch_size if total % batch_size == 0 else None)


def one_ahead(items: Iterator[Item]) -> Iterator[Item]:
    """The items, each made in a thread while the one before is used.

    Example:
        >>> list(one_ahead(iter("ab")))
        ['a', 'b']
    """
    end = object()
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(next, items, end)
        while (item := waiting.result()) is not end:
            waiting = pool.submit(next, items, end)
            yield item
