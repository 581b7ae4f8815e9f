"""The hidden words of a batch as a fixed number of places, so that only they pay for the vocabulary."""

import math
from collections.abc import Mapping

import numpy as np

from tftransformer.data import masked_lm

# Room for batches in which more pieces than usual are hidden; a full batch is five deviations away.
_ROOM = 1.25


def count_places(tokens: int, rate: float) -> int:
    """M: the places that batches of so many tokens provide, a multiple of 8."""
    return min(tokens, 8 * math.ceil(tokens * rate * _ROOM / 8) + 8)


def choose_masks(
    batch: Mapping[str, np.ndarray],
    draw: np.random.Generator,
    specials: tuple[int, int, int, int, int],
    vocabulary_size: int,
    rate: float,
    places: int,
) -> dict[str, np.ndarray]:
    """Hide whole words of a batch.

    Args:
        batch: Holds `token_ids` and `words`, (B, T).
        draw: Source of randomness.
        specials: Ids of unknown, padding, start, separator and mask.
        vocabulary_size: V.
        rate: Share of the words.
        places: M.

    Returns:
        `token_ids` with hidden words, (B, T); `mask_places` (M,), into the B*T tokens, `mask_targets` (M,) and
        `mask_weights` (M,), 1 where a place is used. Of more than M hidden pieces the last ones are not asked for.
    """
    ids, targets = masked_lm.mask_whole_words(
        batch["token_ids"],
        batch["words"],
        draw,
        mask_id=specials[4],
        special_ids=specials,
        vocabulary_size=vocabulary_size,
        rate=rate,
    )
    hidden = np.flatnonzero(targets.ravel() != masked_lm.IGNORED)[:places]
    at, wanted, weights = np.zeros(places, "int32"), np.zeros(places, "int32"), np.zeros(places, "float32")
    at[: len(hidden)], wanted[: len(hidden)], weights[: len(hidden)] = hidden, targets.ravel()[hidden], 1.0
    return {"token_ids": ids, "mask_places": at, "mask_targets": wanted, "mask_weights": weights}
