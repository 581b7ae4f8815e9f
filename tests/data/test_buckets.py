import itertools

import numpy as np
import pytest

from tftransformer.data.buckets import bucket_of, length_buckets
from tftransformer.errors import TransformerError

hypothesis = pytest.importorskip("hypothesis")
given, st = hypothesis.given, hypothesis.strategies
LENGTHS = st.lists(st.integers(1, 40), min_size=1, max_size=60)


def cells(lengths, boundaries):
    return int(np.asarray(boundaries)[bucket_of(np.asarray(lengths), boundaries)].sum())


@given(LENGTHS, st.integers(1, 8), st.integers(1, 50))
def test_boundaries_rise_and_cover_every_length(lengths, num_buckets, sequence_length):
    boundaries = length_buckets(lengths, sequence_length, num_buckets)
    assert list(boundaries) == sorted(set(boundaries)) and boundaries[-1] == sequence_length
    clipped = np.minimum(lengths, sequence_length)
    used = set(bucket_of(clipped, boundaries).tolist())
    assert len(used) <= num_buckets
    assert cells(clipped, boundaries) <= cells(clipped, (sequence_length,))


@given(st.lists(st.integers(1, 9), min_size=1, max_size=30), st.integers(1, 4))
def test_no_other_choice_pads_less(lengths, num_buckets):
    best = min(
        cells(lengths, (*inner, max(lengths)))
        for size in range(num_buckets)
        for inner in itertools.combinations(range(1, max(lengths)), size)
    )
    assert cells(lengths, length_buckets(lengths, 9, num_buckets)) == best


@given(LENGTHS, st.integers(1, 6))
def test_more_buckets_never_pad_more(lengths, num_buckets):
    fewer, more = (length_buckets(lengths, 40, n) for n in (num_buckets, num_buckets + 1))
    assert cells(lengths, more) <= cells(lengths, fewer)


def test_no_lengths_give_one_bucket():
    assert length_buckets([], 128) == (128,)


def test_bad_arguments():
    with pytest.raises(TransformerError, match="^sequence_length must be at least 1; got 0$"):
        length_buckets([1], 0)
    with pytest.raises(TransformerError, match="^num_buckets must be at least 1; got 0$"):
        length_buckets([1], 8, 0)
    with pytest.raises(TransformerError, match="go up to the longest row, 9 tokens; the last is 8$"):
        bucket_of(np.array([9]), (4, 8))
