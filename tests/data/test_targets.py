"""Laws of targets: each kind is batched, padded and weighted alike by NumPy and by `tf.data`, and its rows keep them."""

from dataclasses import replace

import numpy as np
import pytest

from tftransformer.data.examples import ROW_NUMBERS, Examples, joined
from tftransformer.data.pipeline import ordered_batches, token_batches
from tftransformer.data.targets import LABEL, NUMBER, Ragged, TargetSpec
from tftransformer.errors import TransformerError

LENGTHS = np.array([3, 7, 2, 5, 5, 4, 9, 2, 6, 3, 3, 8])
ROWS = len(LENGTHS)
SPECS = {
    "label": LABEL,
    "number": NUMBER,
    "labels": TargetSpec((3,), "float32"),
    "span": TargetSpec((2,)),
    "token labels": TargetSpec((None,), per_token=True, ignore=-1),
    "spans": TargetSpec((None, 2), pad=-1),
    "sequence": TargetSpec((None,), pad=9),
    "vectors a token": TargetSpec((None, 2), "float32", per_token=True),
}


def targets_of(spec):
    draw = np.random.default_rng(3)
    if not spec.grows:
        return draw.integers(0, 5, (ROWS, *spec.shape)).astype(spec.dtype)
    counts = LENGTHS if spec.per_token else draw.integers(0, 5, ROWS)
    rows = [draw.integers(0, 5, (count, *spec.shape[1:])) for count in counts]
    if spec.ignore is not None:
        for row in rows:
            row[0] = spec.ignore
    return Ragged.of(rows, spec.dtype, spec.shape[1:])


def examples_of(spec, weights=None, numbered=False):
    splits = np.concatenate([[0], np.cumsum(LENGTHS)])
    ids = np.arange(splits[-1], dtype="int32") + 10
    targets = None if spec is None else spec.check(targets_of(spec), LENGTHS)
    return Examples(
        ids, splits, LENGTHS.astype("int32"), LENGTHS.astype("int32"), targets, weights, 0,
        spec or LABEL, numbered=numbered,
    )  # fmt: skip


@pytest.mark.parametrize("weighted", [False, True], ids=["", "weighted"])
@pytest.mark.parametrize("kind", SPECS)
def test_both_ways_to_a_batch_give_the_same(kind, weighted):
    weights = np.linspace(0.5, 2, ROWS).astype("float32") if weighted else None
    examples = examples_of(SPECS[kind], weights, numbered=True)
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


@pytest.mark.parametrize("kind", SPECS)
def test_rows_that_are_taken_and_joined_keep_their_targets(kind):
    examples, order = examples_of(SPECS[kind]), np.random.default_rng(0).permutation(ROWS)
    parts = joined([examples.take(order[:5]), examples.take(order[5:])])
    for mine, row in enumerate(order):
        one, other = parts.batch(np.array([mine]), 9), examples.batch(np.array([row]), 9)
        for value, own in zip(one[1:], other[1:], strict=True):
            np.testing.assert_array_equal(value, own)


def test_padding_and_what_is_ignored_weigh_nothing():
    spec = SPECS["token labels"]
    examples = replace(examples_of(spec), weights=np.full(ROWS, 0.5, "float32"))
    _, y, weights = examples.batch(np.array([0, 1]), 9)
    assert y.shape == weights.shape == (2, 9)
    assert weights[0].tolist() == [0, 0.5, 0.5, 0, 0, 0, 0, 0, 0]
    assert weights[1].tolist() == [0, *[0.5] * 6, 0, 0] and (y >= 0).all()


def test_a_sequence_is_as_long_as_the_longest_of_its_batch():
    examples = examples_of(SPECS["sequence"])
    for x, y, weights in ordered_batches(examples, 4)[0]:
        counts = weights.numpy().sum(axis=1).astype(int)
        assert y.shape == weights.shape and counts.max() == y.shape[1] and x["token_ids"].shape[0] == 4
        assert all((row[count:] == 9).all() for row, count in zip(y.numpy(), counts, strict=True))


def test_batches_name_their_rows_only_where_asked():
    plain, numbered = (next(iter(token_batches(examples_of(LABEL, numbered=asked), 4)))[0] for asked in (False, True))
    assert set(numbered) - set(plain) == {ROW_NUMBERS}


def test_what_is_not_declared_is_refused():
    lengths = LENGTHS[:2]
    for spec, values, message in (
        (LABEL, Ragged.of([[1], [2]], "int32"), r"^targets must be int32 of shape \(\); got Ragged"),
        (LABEL, np.zeros((2, 3)), r"got items of shape \(3,\)"),
        (LABEL, np.zeros(3), "^targets must be as many as texts, 2; got 3"),
        (SPECS["token labels"], np.zeros(2), "one item a token; got ndarray"),
        (SPECS["token labels"], Ragged.of([[1, 2, 3], [1]], "int32"), r"row 1 \(from 0\) has 7 tokens and 1"),
        (SPECS["spans"], Ragged.of([[1], [2]], "int32"), r"shape \(any, 2\); got items of shape \(\)"),
    ):
        with pytest.raises(TransformerError, match=message):
            spec.check(values, lengths)
    with pytest.raises(TransformerError, match="None as its first axis alone"):
        TargetSpec((2, None))
    with pytest.raises(TransformerError, match="are for a shape that begins with None"):
        TargetSpec((2,), ignore=-1)
