"""Batches of several tasks: shares, what an epoch is, and one task as `token_batches` has it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tftransformer.data.examples import Examples
from tftransformer.data.pipeline import Epoch, token_batches
from tftransformer.data.task_sampling import batch_shares, epoch_batches, join_tasks, task_batches
from tftransformer.errors import TransformerError


def rows(count, first=0, weights=False, width=None, seed=0):
    """Examples whose first token tells which row they are."""
    draw = np.random.default_rng(seed)
    lengths = draw.integers(2, 9, count)
    ids = np.concatenate([[first + i, *[7] * (n - 1)] for i, n in enumerate(lengths)]).astype("int32")
    labels = draw.integers(0, 2, count if width is None else (count, width))
    return Examples(
        ids,
        np.concatenate([[0], np.cumsum(lengths)]).astype("int64"),
        lengths.astype("int32"),
        lengths.astype("int32"),
        labels.astype("int32" if width is None else "float32"),
        np.linspace(0, 1, count, dtype="float32") if weights else None,
    )


def batches(parts, size=4, sampling="proportional", seed=0, epoch=0):
    joined = join_tasks(dict(enumerate(parts)), width=3)
    counts = {str(i): -(-len(part) // size) for i, part in enumerate(parts)}
    shares = list(batch_shares(sampling, counts).values())
    return list(task_batches(joined, size, shares, seed=seed, epoch=Epoch(epoch)).as_numpy_iterator())


def test_each_batch_holds_one_task_and_the_shares_are_exact():
    found = batches([rows(60), rows(7, 100), rows(24, 200, width=3)])
    tasks = [set(y[:, 0]) for _, y in found]
    assert all(len(kinds) == 1 for kinds in tasks) and len(found) == 15 + 2 + 6
    shares = np.array([15, 2, 6]) ** 0.75
    counts = [sum(kinds == {task} for kinds in tasks) for task in range(3)]
    assert np.abs(counts - shares / shares.sum() * 23).max() < 1
    for x, y in found:
        assert (x["token_ids"][:, 0] // 100 == y[:, 0]).all()


def test_targets_and_weights_of_a_row_stay_with_it():
    one, several = rows(9, weights=True), rows(6, 100, width=3, seed=1)
    for x, y, weight in batches([one, several], sampling="proportional:1"):
        for token, target, own in zip(x["token_ids"][:, 0], y, weight):
            if token < 100:
                assert target[1] == one.labels[token] and own == one.weights[token]
            else:
                np.testing.assert_array_equal(target[1:], several.labels[token - 100])
                assert own == 1.0


def test_power_one_is_one_pass_over_everything():
    seen = np.concatenate(
        [x["token_ids"][:, 0] for x, _ in batches([rows(61), rows(7, 100)], sampling="proportional:1")]
    )
    assert sorted(seen) == [*range(61), *range(100, 107)]


@pytest.mark.parametrize("sampling", ["proportional", "equal", {"0": 1, "1": 9.5}])
def test_no_row_comes_twice_before_all_of_its_task_came(sampling):
    parts = [rows(40), rows(12, 100)]
    order = [
        x["token_ids"][:, 0] for epoch in range(5) for x, _ in batches(parts, sampling=sampling, epoch=epoch)
    ]
    for task, part in enumerate(parts):
        own = np.concatenate([ids for ids in order if ids[0] // 100 == task])
        for start in range(0, len(own), len(part)):
            turn = own[start : start + len(part)]
            assert len(set(turn)) == len(turn)


def test_epochs_depend_on_seed_and_number_alone():
    parts = [rows(40), rows(12, 100)]

    def order(**options):
        return [tuple(x["token_ids"][:, 0]) for x, _ in batches(parts, **options)]

    assert order(epoch=3) == order(epoch=3)
    assert order(epoch=3) != order(epoch=2) and order(epoch=3) != order(epoch=3, seed=1)


def test_one_task_has_the_batches_of_token_batches():
    part = rows(50)
    joined = join_tasks({0: part}, width=1)
    for boundaries in (None, (4, 9)):
        for epoch in (0, 2):
            options = {"boundaries": boundaries, "seed": 5, "epoch": Epoch(epoch)}
            expected = list(token_batches(part, 8, **options).as_numpy_iterator())
            found = list(task_batches(joined, 8, [1.0], **options).as_numpy_iterator())
            assert len(found) == len(expected)
            for (x, y), (x_alone, y_alone) in zip(found, expected):
                np.testing.assert_array_equal(x["token_ids"], x_alone["token_ids"])
                np.testing.assert_array_equal(y[:, 1], y_alone)


@given(st.lists(st.floats(0.01, 1.0), min_size=1, max_size=6), st.integers(0, 200))
def test_every_batch_is_handed_out_and_every_task_gets_one(weights, more):
    shares = np.array(weights) / sum(weights)
    total = len(weights) + more
    counts = epoch_batches(shares, total)
    assert sum(counts) == total and min(counts) >= 1
    if min(shares * total) >= 1:
        assert np.abs(counts - shares * total).max() < 1


def test_shares():
    sizes = {"large": 16, "small": 1}
    assert batch_shares("equal", sizes) == {"large": 0.5, "small": 0.5}
    assert batch_shares("proportional", sizes) == {"large": 8 / 9, "small": 1 / 9}
    assert batch_shares({"large": 1, "small": 3}, sizes) == {"large": 0.25, "small": 0.75}


@pytest.mark.parametrize(
    ("sampling", "part"),
    [
        ("proportionl", "did you mean 'proportional"),
        ("equal:2", "sampling must be"),
        ("proportional:x", "power from 0 to 1"),
        ("proportional:nan", "power from 0 to 1"),
        ("proportional:1.5", "power from 0 to 1"),
        ({"large": 1, "smal": 1}, "did you mean 'small'"),
        ({"large": 1}, "'small' has None"),
        ({"large": 1, "small": 0}, "'small' has 0"),
        ({"large": 1, "small": float("inf")}, "'small' has inf"),
    ],
)
def test_mistakes_in_one_line(sampling, part):
    with pytest.raises(TransformerError, match=part) as error:
        batch_shares(sampling, {"large": 3, "small": 1})
    assert "\n" not in str(error.value)


def test_a_task_without_rows_and_short_boundaries():
    with pytest.raises(TransformerError, match="no examples"):
        task_batches(join_tasks({0: rows(3), 1: rows(3).take([])}, 1), 2, [0.5, 0.5])
    with pytest.raises(TransformerError):
        task_batches(join_tasks({0: rows(9)}, 1), 2, [1.0], boundaries=(2,))
