"""Laws of fields: rows that are taken, joined and batched keep what they hold, and batches are what they say of themselves."""

from dataclasses import replace

import numpy as np
import pytest

from tftransformer.data.examples import ROW_NUMBERS, Examples, joined
from tftransformer.data.fields import Field, Sequences, TokenLabels, Tokens, Values
from tftransformer.data.pipeline import ordered_batches, token_batches
from tftransformer.data.ragged import Ragged, row_splits
from tftransformer.errors import TransformerError

LENGTHS = np.array([3, 7, 2, 5, 5, 4, 9, 2, 6, 3, 3, 8])
ROWS = len(LENGTHS)
DRAW = np.random.default_rng(3)
COUNTS = DRAW.integers(0, 5, ROWS)


def ragged(counts, dtype="int32", item=(), first=None):
    rows = [DRAW.integers(0, 5, (count, *item)) for count in counts]
    for row in rows if first is not None else ():
        row[0] = first
    return Ragged.of(rows, dtype, item)


TARGETS = {
    "label": Values(DRAW.integers(0, 5, ROWS).astype("int32")),
    "number": Values(DRAW.normal(size=ROWS).astype("float32")),
    "labels": Values(DRAW.integers(0, 2, (ROWS, 3)).astype("float32")),
    "span": Values(DRAW.integers(0, 5, (ROWS, 2)).astype("int32")),
    "token labels": TokenLabels(ragged(LENGTHS, first=-1), ignore=-1),
    "spans": Sequences(ragged(COUNTS, item=(2,)), pad=-1),
    "sequence": Sequences(ragged(COUNTS), pad=9),
    "written tokens": Sequences(ragged(COUNTS), begin=4),
    "vectors a token": TokenLabels(ragged(LENGTHS, "float32", (2,))),
}


def tokens_of(lengths=LENGTHS):
    splits, lengths = row_splits(lengths), lengths.astype("int32")
    return Tokens(np.arange(splits[-1], dtype="int32") + 10, splits, lengths // 2 + 1, lengths)


def examples_of(kind, weights=None, numbered=False):
    return Examples({"text": tokens_of()}, TARGETS.get(kind), weights, numbered=numbered)


@pytest.mark.parametrize("field", [tokens_of(), *TARGETS.values()], ids=["tokens", *TARGETS])
def test_a_field_keeps_its_rows_and_tells_their_shapes(field: Field):
    order = np.random.default_rng(0).permutation(ROWS)
    parts = type(field).concat([field.take(order[:5]), field.take(order[5:])])
    assert len(parts) == ROWS and len(field.take(order[:0])) == 0
    for mine, row in enumerate(order):
        one, other = parts.batch(np.array([mine]), 9), field.batch(np.array([row]), 9)
        assert one.keys() == other.keys() == field.spec().keys()
        for name, value in one.items():
            np.testing.assert_array_equal(value, other[name])
            shape, dtype = field.spec()[name]
            assert value.dtype == dtype and value.ndim == 1 + len(shape)
            assert all(size in (None, own) for size, own in zip(shape, value.shape[1:], strict=True))
    assert [parts.digests()[i] for i in np.argsort(order)] == field.digests()
    assert field.lengths is None or np.array_equal(parts.lengths, field.lengths[order])


@pytest.mark.parametrize("weighted", [False, True], ids=["", "weighted"])
@pytest.mark.parametrize("kind", TARGETS)
def test_a_dataset_gives_the_batches_of_the_examples(kind, weighted):
    weights = np.linspace(0.5, 2, ROWS).astype("float32") if weighted else None
    examples = examples_of(kind, weights, numbered=True)
    seen = []
    for batch in token_batches(examples, 4, seed=1):
        numbers = batch[0][ROW_NUMBERS].numpy()
        expected = examples.batch(numbers, batch[0]["token_ids"].shape[1])
        assert len(batch) == len(expected)
        for name, value in expected[0].items():
            np.testing.assert_array_equal(batch[0][name], value)
        for value, own in zip(batch[1:], expected[1:], strict=True):
            assert value.dtype == own.dtype
            np.testing.assert_array_equal(value, own)
        seen.extend(numbers.tolist())
    assert sorted(seen) == list(range(ROWS))


@pytest.mark.parametrize("kind", TARGETS)
def test_examples_that_are_taken_and_joined_keep_their_targets(kind):
    examples, order = examples_of(kind), np.random.default_rng(0).permutation(ROWS)
    parts = joined([examples.take(order[:5]), examples.take(order[5:])])
    assert parts.digests == [examples.digests[row] for row in order]
    for mine, row in enumerate(order):
        one, other = parts.batch(np.array([mine]), 9), examples.batch(np.array([row]), 9)
        for value, own in zip(one[1:], other[1:], strict=True):
            np.testing.assert_array_equal(value, own)


def test_inputs_that_are_no_text_make_batches_alike():
    pictures = np.arange(ROWS * 12, dtype="uint8").reshape(ROWS, 2, 2, 3)
    examples = Examples({"image": Values(pictures, "images"), "age": Values(np.arange(ROWS), "ages")}, TARGETS["label"])
    for x, y in token_batches(examples, 5, seed=1):
        np.testing.assert_array_equal(x["images"], pictures[x["ages"].numpy()])
        np.testing.assert_array_equal(y, TARGETS["label"].values[x["ages"].numpy()])
    assert len(set(examples.digests)) == ROWS and not examples.lengths.any()


def test_padding_and_what_is_ignored_weigh_nothing():
    examples = replace(examples_of("token labels"), weights=np.full(ROWS, 0.5, "float32"))
    _, y, weights = examples.batch(np.array([0, 1]), 9)
    assert y.shape == weights.shape == (2, 9)
    assert weights[0].tolist() == [0, 0.5, 0.5, 0, 0, 0, 0, 0, 0]
    assert weights[1].tolist() == [0, *[0.5] * 6, 0, 0] and (y >= 0).all()


def test_a_sequence_is_as_long_as_the_longest_of_its_batch():
    examples = examples_of("sequence")
    for x, y, weights in ordered_batches(examples, 4)[0]:
        counts = weights.numpy().sum(axis=1).astype(int)
        assert y.shape == weights.shape and counts.max() == y.shape[1] and x["token_ids"].shape[0] == 4
        assert all((row[count:] == 9).all() for row, count in zip(y.numpy(), counts, strict=True))


def test_batches_name_their_rows_only_where_asked():
    plain, numbered = (next(iter(token_batches(examples_of("label", numbered=asked), 4)))[0] for asked in (False, True))
    assert set(numbered) - set(plain) == {ROW_NUMBERS}


def test_targets_of_other_rows_are_refused():
    with pytest.raises(TransformerError, match="^targets must be as many as texts, 12; got 3$"):
        Examples({"text": tokens_of()}, Values(np.zeros(3)))
    with pytest.raises(TransformerError, match=r"one for each token; row 1 \(from 0\) has 7 tokens and 1 targets"):
        Examples({"text": tokens_of(LENGTHS[:2])}, TokenLabels(Ragged.of([[1, 2, 3], [1]], "int32")))
