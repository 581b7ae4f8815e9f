"""Packing: every text once, no row over its capacity, borders where they belong."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tftransformer.data.packed_batches import pack_rows
from tftransformer.data.shard_batches import Documents, Side, write_rows


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(1, 32), max_size=60))
def test_every_item_is_packed_once_and_fits(lengths):
    rows = pack_rows(np.array(lengths, "int64"), 32)
    assert sorted(item for row in rows for item in row) == list(range(len(lengths)))
    sums = [sum(lengths[item] for item in row) for row in rows]
    assert all(0 < total <= 32 for total in sums)
    # Best fit opens a row only where no other has room: two rows that fit together cannot both be there.
    assert len(sums) < 2 or sum(sorted(sums)[:2]) > 32


def test_texts_of_a_row_have_positions_words_and_specials_of_their_own():
    begins = np.array([True] * 8 + [False])  # piece 8 goes on a word
    texts = Documents((Side(np.array([5, 8, 6, 7], "int32"), np.array([0, 2, 3, 4])),), np.array([3]), np.array([3]))
    packed = [[(texts, (0, 2)), (texts, (2, 3))]]
    batch = write_rows(packed, 0, 2, 10, begins, (0, 1, 2, 3, 4))
    assert batch["token_ids"].tolist() == [[2, 5, 8, 6, 3, 2, 7, 3, 1, 1], [1] * 10]
    assert batch["sequence_ids"].tolist() == [[1] * 5 + [2] * 3 + [0] * 2, [0] * 10]
    assert batch["position_ids"].tolist()[0] == [0, 1, 2, 3, 4, 0, 1, 2, 0, 0]
    assert batch["words"].tolist()[0] == [0, 1, 1, 2, 3, 4, 5, 6, -1, -1]
    assert (batch["padding_mask"] == (batch["sequence_ids"] > 0)).all()
