"""Whole-word masks, drawn anew each time a text is seen (Devlin et al. 2018; Liu et al. 2019, arXiv 1907.11692)."""

from collections.abc import Iterable

import numpy as np

from tftransformer.errors import TransformerError

IGNORED = -1


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
        words: (B, T) number of each token's word in its row, `IGNORED` at padding.
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
