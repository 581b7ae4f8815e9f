"""Batches of several tasks: fractions, what an epoch is, and one task as `token_batches` has it."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tftransformer.data.examples import Examples
from tftransformer.data.fields import Tokens, Values
from tftransformer.data.pipeline import Epoch, token_batches
from tftransformer.data.ragged import row_splits
from tftransformer.data.task_sampling import batch_fractions, epoch_batches, join_tasks, plan_tasks, task_batches
from tftransformer.errors import TransformerError


def rows(count, first=0, weights=False, width=None, seed=0):
    """Examples whose first token tells which row they are."""
    draw = np.random.default_rng(seed)
    lengths = draw.integers(2, 9, count)
    ids = np.concatenate([[first + i, *[7] * (n - 1)] for i, n in enumerate(lengths)]).astype("int32")
    labels = draw.integers(0, 2, count if width is None else (count, width))
    return Examples(
        {"text": Tokens(ids, row_splits(lengths), lengths.astype("int32"), lengths.astype("int32"))},
        Values(labels.astype("int32" if width is None else "float32")),
        np.linspace(0, 1, count, dtype="float32") if weights else None,
    )


def plan(sizes, number=0, sampling="proportional", size=4, **options):
    """Of each batch of an epoch its task, and its rows as the task counts them."""
    fractions = batch_fractions(sampling, {str(i): -(-count // size) for i, count in enumerate(sizes)})
    counts = epoch_batches(list(fractions.values()), sum(-(-count // size) for count in sizes))
    lengths = [np.random.default_rng(i).integers(2, 9, count) for i, count in enumerate(sizes)]
    starts = np.cumsum([0, *sizes])
    batches = []
    for rows, _ in plan_tasks(lengths, size, counts, number, **options):
        task = int(np.searchsorted(starts, rows[0], "right")) - 1
        assert starts[task] <= rows.min() and rows.max() < starts[task + 1], "a batch holds one task"
        batches.append((task, (rows - starts[task]).tolist()))
    return batches


def test_fractions_of_the_batches_are_exact():
    tasks = [task for task, _ in plan([6000, 700, 2400])]
    sizes = np.array([1500, 175, 600])
    assert len(tasks) == sizes.sum()
    ideal = sizes**0.75 / (sizes**0.75).sum() * sizes.sum()
    assert np.abs(np.bincount(tasks) - ideal).max() < 1
    # Their order is drawn: no stretch of the epoch is of one task alone.
    assert len(set(tasks[:50])) == len(set(tasks[-50:])) == 3


def test_power_one_is_one_pass_over_everything():
    seen = [(task, row) for task, rows in plan([61, 7], sampling="proportional:1") for row in rows]
    assert sorted(seen) == [*((0, row) for row in range(61)), *((1, row) for row in range(7))]


@pytest.mark.parametrize("sampling", ["proportional", "equal", {"0": 1, "1": 9.5}])
def test_no_row_comes_twice_before_all_of_its_task_came(sampling):
    sizes = [40, 12]
    order = [batch for number in range(5) for batch in plan(sizes, number, sampling)]
    for task, size in enumerate(sizes):
        own = [row for kind, rows in order for row in rows if kind == task]
        for start in range(0, len(own), size):
            turn = own[start : start + size]
            assert len(set(turn)) == len(turn)


def test_epochs_depend_on_seed_and_number_alone():
    assert plan([40, 12], 3) == plan([40, 12], 3)
    assert plan([40, 12], 3) != plan([40, 12], 2) and plan([40, 12], 3) != plan([40, 12], 3, seed=1)
    assert [rows for task, rows in plan([8, 8], shuffle=False) if task] == [[0, 1, 2, 3], [4, 5, 6, 7]]


def test_targets_and_weights_of_a_row_stay_with_it():
    one, several = rows(9, weights=True), rows(6, 100, width=3, seed=1)
    dataset = task_batches(join_tasks({0: one, 1: several}, 3), 4, [0.5, 0.5])
    for x, y, weight in dataset.as_numpy_iterator():
        assert len(set(y[:, 0])) == 1
        for token, target, own in zip(x["token_ids"][:, 0], y, weight):
            assert target[0] == token // 100
            if token < 100:
                assert target[1] == one.targets.values[token] and own == one.weights[token]
            else:
                np.testing.assert_array_equal(target[1:], several.targets.values[token - 100])
                assert own == 1.0


@pytest.mark.parametrize("boundaries", [None, pytest.param((4, 9), marks=pytest.mark.slow)])
def test_one_task_has_the_batches_of_token_batches(boundaries):
    part = rows(50)
    options = {"boundaries": boundaries, "seed": 5, "epoch": Epoch(2)}
    expected = list(token_batches(part, 8, **options).as_numpy_iterator())
    found = list(task_batches(join_tasks({0: part}, width=1), 8, [1.0], **options).as_numpy_iterator())
    assert len(found) == len(expected)
    for (x, y), (x_alone, y_alone) in zip(found, expected):
        np.testing.assert_array_equal(x["token_ids"], x_alone["token_ids"])
        np.testing.assert_array_equal(y[:, 1], y_alone)


@settings(max_examples=40)
@given(st.lists(st.floats(0.01, 1.0), min_size=1, max_size=6), st.integers(0, 200))
def test_every_batch_is_handed_out_and_every_task_gets_one(weights, more):
    fractions = np.array(weights) / sum(weights)
    total = len(weights) + more
    counts = epoch_batches(fractions, total)
    assert sum(counts) == total and min(counts) >= 1
    if min(fractions * total) >= 1:
        assert np.abs(counts - fractions * total).max() < 1


def test_fractions():
    sizes = {"large": 16, "small": 1}
    assert batch_fractions("equal", sizes) == {"large": 0.5, "small": 0.5}
    assert batch_fractions("proportional", sizes) == {"large": 8 / 9, "small": 1 / 9}
    assert batch_fractions({"large": 1, "small": 3}, sizes) == {"large": 0.25, "small": 0.75}


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
        batch_fractions(sampling, {"large": 3, "small": 1})
    assert "\n" not in str(error.value)


def test_a_task_without_rows_and_short_boundaries():
    with pytest.raises(TransformerError, match="no examples"):
        task_batches(join_tasks({0: rows(3), 1: rows(3).take([])}, 1), 2, [0.5, 0.5])
    with pytest.raises(TransformerError):
        task_batches(join_tasks({0: rows(9)}, 1), 2, [1.0], boundaries=(2,))
