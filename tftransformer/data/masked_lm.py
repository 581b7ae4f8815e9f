"""Rows for pretraining: texts as padded ids with word numbers, and whole-word masks over them.

Masking follows BERT (Devlin et al. 2018, arXiv 1810.04805, section 3.1) with its later whole words: a word is
masked with all its pieces, anew each time its text comes by (Liu et al. 2019, arXiv 1907.11692).
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from tftransformer.errors import TransformerError

LENGTH_MULTIPLE = 8
IGNORED = -1


def continuation_table(vocabulary: Sequence[str]) -> np.ndarray:
    """(V,) booleans: the piece goes on a word ("##ing"), it does not start one."""
    return np.array([piece.startswith("##") for piece in vocabulary])


def number_words(token_ids: np.ndarray, padding_mask: np.ndarray, continues: np.ndarray) -> np.ndarray:
    """The number of the word that each piece belongs to, counted from 0 in its row.

    [CLS] and [SEP] are words of their own. Two tokenizers that split text into the same words give words
    the same numbers, whatever their pieces.

    Args:
        token_ids: (B, T).
        padding_mask: (B, T), 1 at real pieces.
        continues: (V,), see `continuation_table`.

    Returns:
        (B, T) int32, `IGNORED` at padding.

    Example:
        >>> number_words(np.array([[1, 3, 4, 2, 0]]), np.array([[1, 1, 1, 1, 0]]),
        ...              np.array([False, False, False, False, True])).tolist()
        [[0, 1, 1, 2, -1]]
    """
    starts = ~continues[token_ids]
    return np.where(padding_mask == 1, np.cumsum(starts, axis=1) - 1, IGNORED).astype("int32")


def pad_rows(rows: Sequence[np.ndarray], start_id: int, separator_id: int, pad_id: int, most: int) -> dict:
    """[CLS] pieces [SEP] and padding up to a common length, a multiple of `LENGTH_MULTIPLE`.

    Args:
        rows: Arrays of piece ids without specials.
        start_id: Of [CLS].
        separator_id: Of [SEP].
        pad_id: Of [PAD].
        most: Longest row with specials; what is longer is cut.

    Returns:
        `token_ids`, `padding_mask` and `segment_ids` (all zero), (B, T) int32.
    """
    rows = [row[: most - 2] for row in rows]
    longest = max((len(row) for row in rows), default=0) + 2
    length = min(-(-longest // LENGTH_MULTIPLE) * LENGTH_MULTIPLE, most)
    token_ids = np.full((len(rows), length), pad_id, "int32")
    for line, row in zip(token_ids, rows, strict=True):
        line[0] = start_id
        line[1 : len(row) + 1] = row
        line[len(row) + 1] = separator_id
    lengths = np.array([len(row) + 2 for row in rows])
    padding_mask = (np.arange(length) < lengths[:, None]).astype("int32")
    return {"token_ids": token_ids, "padding_mask": padding_mask, "segment_ids": np.zeros_like(token_ids)}


def mask_whole_words(
    token_ids: np.ndarray,
    words: np.ndarray,
    draw: np.random.Generator,
    *,
    mask_id: int,
    special_ids: Iterable[int],
    vocabulary_size: int,
    rate: float = 0.15,
) -> tuple[np.ndarray, np.ndarray]:
    """Hide a share of the words of each row: 80 % as [MASK], 10 % as random pieces, 10 % as they are.

    Args:
        token_ids: (B, T).
        words: (B, T) word numbers, see `number_words`.
        draw: Source of randomness.
        mask_id: Of [MASK].
        special_ids: Ids that are never hidden nor drawn as random pieces ([PAD], [CLS], ...).
        vocabulary_size: V.
        rate: Share of the words (above 0, at most 1). A row that has words gets at least one hidden.

    Returns:
        The ids with hidden words, (B, T), and the targets, (B, T): the hidden pieces' ids, else `IGNORED`.

    Raises:
        TransformerError: The rate is out of range.
    """
    if not 0 < rate <= 1:
        raise TransformerError(f"mask_rate must be above 0 and at most 1; got {rate}")
    special = np.zeros(vocabulary_size, bool)
    special[list(special_ids)] = True
    usable = (words != IGNORED) & ~special[token_ids]
    rows = np.arange(len(token_ids))[:, None]
    # One number a word, the same for all its pieces, and 1 (never chosen) where there is nothing to hide.
    numbers = draw.random((len(token_ids), int(words.max(initial=0)) + 1))
    by_piece = np.where(usable, numbers[rows, np.maximum(words, 0)], 1.0)
    hidden = by_piece <= np.maximum(rate, by_piece.min(axis=1, keepdims=True))
    hidden &= usable
    # A second number a word decides what stands in its place.
    fate = draw.random(numbers.shape)[rows, np.maximum(words, 0)]
    ordinary = np.flatnonzero(~special)
    random_ids = ordinary[draw.integers(0, len(ordinary), token_ids.shape)]
    replaced = np.where(fate < 0.8, mask_id, np.where(fate < 0.9, random_ids, token_ids))
    return np.where(hidden, replaced, token_ids).astype("int32"), np.where(hidden, token_ids, IGNORED).astype(
        "int32"
    )


def tokenize_rows(tokenizer: Any, texts: Sequence[str]) -> list[np.ndarray]:
    """The pieces of each text, without specials."""
    import tensorflow as tf

    ragged = tokenizer.tokenize(tf.constant([text.encode("utf-8") for text in texts]))
    return np.split(ragged.values.numpy(), ragged.row_splits.numpy()[1:-1])


def batches_by_length(lengths: np.ndarray, tokens: int, draw: np.random.Generator) -> Iterator[np.ndarray]:
    """Indices of rows of like length, in batches of about `tokens` pieces with padding, in random order."""
    order = np.argsort(lengths + draw.random(len(lengths)), kind="stable")
    batches, start = [], 0
    while start < len(order):
        end = start + 1
        while end < len(order) and (end - start + 1) * (lengths[order[end]] + 2) <= tokens:
            end += 1
        batches.append(order[start:end])
        start = end
    for i in draw.permutation(len(batches)):
        yield batches[i]
