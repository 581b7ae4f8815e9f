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
from tftransformer.data.pipeline import Epoch, count_batches, epoch_numbers, in_order, plan_epoch, row_windows
from tftransformer.data.row_packing import Packer
from tftransformer.data.texts import Texts
from tftransformer.errors import TransformerError

if TYPE_CHECKING:
    import tensorflow as tf

Item = TypeVar("Item")


def augmented_batches(
    augmentation: Augmentation,
    texts: Texts,
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
        augmentation: The operations, whose `prepare` has seen the texts.
        texts: The texts that the examples are made of, in the same order.
        examples: Examples from `build_examples`, with the labels.
        tokenize, pack: Callables, as in `build_examples`.
        boundaries: Padded lengths, as in `token_batches`; the last one is raised to the packer's `sequence_length`, which a changed text
            may reach.
        shuffle: False keeps the order, each text before its copies.
        seed: Random seed of the order.
        batch_size, epoch: Arguments of `token_batches`.

    Returns:
        `tf.data.Dataset` of (x, y), (x, y, weight) or x; `rows_per_text` rows for each example.

    Raises:
        TransformerError: if there are no examples, not as many as texts, or batch_size is below 1.
    """
    if len(texts) != len(examples):
        raise TransformerError(f"texts must be as many as examples, {len(examples)}; got {len(texts)}")
    total = len(examples) * augmentation.rows_per_text
    count = count_batches(total, batch_size)
    if boundaries is not None:
        boundaries = tuple(dict.fromkeys([*(b for b in boundaries if b < pack.sequence_length), pack.sequence_length]))
    number_of_epoch = epoch_numbers(epoch)

    def window(rows: np.ndarray, number: int) -> Examples:
        originals, copies = np.divmod(rows, augmentation.rows_per_text)
        # Where texts are kept, the first row of each is the text itself.
        copies = copies - 1 if augmentation.copies else copies
        kept, new = np.flatnonzero(copies < 0), np.flatnonzero(copies >= 0)
        changed = augmentation.augment(texts, originals[new], copies[new], number)
        made = build_examples(
            changed, tokenize=tokenize, pack=pack, pad_id=examples.tokens.pad_id, stream=io.StringIO()
        )
        both = joined([examples.take(originals[kept]), made.labelled_as(examples, originals[new])])
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
        return one_ahead(windows(number_of_epoch()))

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
