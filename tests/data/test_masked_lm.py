"""Rows, word numbers and whole-word masks."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tftransformer.data import masked_lm
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
CONTINUES = masked_lm.continuation_table(VOCABULARY)
SPECIAL = (PAD, UNKNOWN, START, SEPARATOR, MASK)

pieces = st.lists(st.lists(st.integers(5, len(VOCABULARY) - 1), max_size=30), min_size=1, max_size=5)


def rows_of(lists):
    batch = masked_lm.pad_rows([np.array(row, "int32") for row in lists], START, SEPARATOR, PAD, 32)
    return batch, masked_lm.number_words(batch["token_ids"], batch["padding_mask"], CONTINUES)


@settings(max_examples=60, deadline=None)
@given(pieces)
def test_rows_hold_the_pieces_between_specials_and_padding(lists):
    batch, words = rows_of(lists)
    assert batch["token_ids"].shape[1] % masked_lm.LENGTH_MULTIPLE == 0
    for row, ids, mask in zip(lists, batch["token_ids"], batch["padding_mask"], strict=True):
        assert ids[mask == 1].tolist() == [START, *row, SEPARATOR]
        assert (ids[mask == 0] == PAD).all()
    assert ((words == masked_lm.IGNORED) == (batch["padding_mask"] == 0)).all()


def test_long_rows_are_cut_and_keep_their_specials():
    batch = masked_lm.pad_rows([np.arange(5, 25)], START, SEPARATOR, PAD, 12)
    assert batch["token_ids"].tolist() == [[START, *range(5, 15), SEPARATOR]]


def test_pieces_of_a_word_share_its_number():
    _, words = rows_of([[5, 25, 26, 6, 7, 27]])
    assert words[0].tolist() == [0, 1, 1, 1, 2, 3, 3, 4]


@settings(max_examples=80, deadline=None)
@given(pieces, st.floats(0.01, 1.0), st.integers(0, 99))
def test_words_are_hidden_whole_and_targets_remember_them(lists, rate, seed):
    batch, words = rows_of(lists)
    ids = batch["token_ids"]
    masked, targets = masked_lm.mask_whole_words(
        ids, words, np.random.default_rng(seed), mask_id=MASK, special_ids=SPECIAL,
        vocabulary_size=len(VOCABULARY), rate=rate,
    )  # fmt: skip
    hidden = targets != masked_lm.IGNORED
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
    masked, targets = masked_lm.mask_whole_words(
        ids,
        words,
        np.random.default_rng(1),
        mask_id=MASK,
        special_ids=SPECIAL,
        vocabulary_size=len(VOCABULARY),
    )
    hidden = targets != masked_lm.IGNORED
    assert hidden.mean() == pytest.approx(0.15, abs=0.01)
    assert (masked[hidden] == MASK).mean() == pytest.approx(0.8, abs=0.03)
    # A random piece is the old one now and then, so a little over a tenth stays.
    assert (masked[hidden] == ids[hidden]).mean() == pytest.approx(0.1, abs=0.03)
    assert not np.isin(masked[hidden & (masked != MASK)], SPECIAL).any()


def test_masks_differ_from_epoch_to_epoch_and_repeat_with_the_seed():
    batch, words = rows_of([list(range(5, 25))])

    def mask(draw):
        return masked_lm.mask_whole_words(
            batch["token_ids"],
            words,
            draw,
            mask_id=MASK,
            special_ids=SPECIAL,
            vocabulary_size=len(VOCABULARY),
        )[0].tolist()

    draw = np.random.default_rng(0)
    assert mask(draw) != mask(draw)
    assert mask(np.random.default_rng(3)) == mask(np.random.default_rng(3))


@pytest.mark.parametrize("rate", [0, -0.1, 1.5, float("nan")])
def test_a_rate_out_of_range_is_an_error(rate):
    batch, words = rows_of([[5]])
    with pytest.raises(TransformerError, match="mask_rate must be above 0 and at most 1"):
        masked_lm.mask_whole_words(
            batch["token_ids"], words, np.random.default_rng(0), mask_id=MASK, special_ids=SPECIAL,
            vocabulary_size=len(VOCABULARY), rate=rate,
        )  # fmt: skip


def test_batches_hold_every_row_once_and_stay_within_their_tokens():
    draw = np.random.default_rng(0)
    lengths = draw.integers(1, 62, 500)
    batches = list(masked_lm.batches_by_length(lengths, 512, draw))
    assert sorted(np.concatenate(batches).tolist()) == list(range(500))
    padded = [len(batch) * (lengths[batch].max() + 2) for batch in batches]
    assert max(padded) <= 512
    assert sum(lengths + 2) / sum(padded) > 0.9
