"""Whole-word masks."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tftransformer.data import shard_batches as masked_lm
from tftransformer.errors import TransformerError

PAD, UNKNOWN, START, SEPARATOR, MASK = range(5)
VOCABULARY = [
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "[MASK]",
    *(f"w{i}" for i in range(20)),
    *(f"##c{i}" for i in range(20)),
]
SPECIAL = (PAD, UNKNOWN, START, SEPARATOR, MASK)

pieces = st.lists(st.lists(st.integers(5, len(VOCABULARY) - 1), max_size=30), min_size=1, max_size=5)


def rows_of(lists):
    """[CLS] pieces [SEP] and padding, and the number of each piece's word."""
    ids = np.full((len(lists), max(map(len, lists)) + 2), PAD, "int32")
    words = np.full_like(ids, -1)
    for line, numbers, row in zip(ids, words, lists, strict=True):
        line[: len(row) + 2] = [START, *row, SEPARATOR]
        starts = [not VOCABULARY[piece].startswith("##") for piece in line[: len(row) + 2]]
        numbers[: len(row) + 2] = np.cumsum(starts) - 1
    return ids, words


def mask(ids, words, draw, rate=0.15):
    """The ids with masks, the ids that stood at all masked places, and where these are."""
    batch = masked_lm.mask_whole_words(
        {"token_ids": ids, "words": words}, draw, SPECIAL, len(VOCABULARY), rate, places=ids.size
    )
    targets = np.full(ids.size, -1)
    used = batch["mask_weights"] == 1
    targets[batch["mask_places"][used]] = batch["mask_targets"][used]
    targets = targets.reshape(ids.shape)
    return batch["token_ids"], targets, targets >= 0


@settings(max_examples=80, deadline=None)
@given(pieces, st.floats(0.01, 1.0), st.integers(0, 99))
def test_words_are_hidden_whole_and_targets_remember_them(lists, rate, seed):
    ids, words = rows_of(lists)
    masked, targets, hidden = mask(ids, words, np.random.default_rng(seed), rate)
    assert (targets[hidden] == ids[hidden]).all()
    assert (masked[~hidden] == ids[~hidden]).all()
    assert not np.isin(ids[hidden], SPECIAL).any()
    for row in range(len(ids)):
        usable = (words[row] >= 0) & ~np.isin(ids[row], SPECIAL)
        for number in set(words[row][usable]):
            of_word = usable & (words[row] == number)
            assert hidden[row][of_word].all() or not hidden[row][of_word].any()
        assert hidden[row].any() == usable.any()


def test_share_of_hidden_words_and_what_stands_for_them():
    ids = np.random.default_rng(0).integers(5, 25, (200, 64)).astype("int32")
    words = np.tile(np.arange(64, dtype="int32"), (200, 1))
    masked, _, hidden = mask(ids, words, np.random.default_rng(1))
    assert hidden.mean() == pytest.approx(0.15, abs=0.01)
    assert (masked[hidden] == MASK).mean() == pytest.approx(0.8, abs=0.03)
    # A random piece is the old one now and then, so a little over a tenth stays.
    assert (masked[hidden] == ids[hidden]).mean() == pytest.approx(0.1, abs=0.03)
    assert not np.isin(masked[hidden & (masked != MASK)], SPECIAL).any()


def test_masks_differ_from_epoch_to_epoch_and_repeat_with_the_seed():
    ids, words = rows_of([list(range(5, 25))])

    def masked(seed):
        return mask(ids, words, seed)[0].tolist()

    draw = np.random.default_rng(0)
    assert masked(draw) != masked(draw)
    assert masked(np.random.default_rng(3)) == masked(np.random.default_rng(3))


@pytest.mark.parametrize("rate", [0, -0.1, 1.5, float("nan")])
def test_a_rate_out_of_range_is_an_error(rate):
    ids, words = rows_of([[5]])
    with pytest.raises(TransformerError, match="mask_rate must be above 0 and at most 1"):
        mask(ids, words, np.random.default_rng(0), rate)
