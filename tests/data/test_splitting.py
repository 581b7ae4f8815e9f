import collections

import numpy as np
import pytest

from tftransformer.data.dedup import normalize_for_dedup
from tftransformer.data.split import Split
from tftransformer.data.splitting import fold_rows, subset, train_test_split
from tftransformer.errors import TransformerError

hypothesis = pytest.importorskip("hypothesis")
given, settings, st = hypothesis.given, hypothesis.settings, hypothesis.strategies

# Few distinct texts, so that many rows share one; upper case, so that they share it only when folded.
ROWS = st.lists(st.tuples(st.sampled_from("abcdefghijABCDEFGHIJ"), st.sampled_from("xyz")), min_size=2, max_size=60)


def split_of(rows):
    return Split([t for t, _ in rows], [label for _, label in rows], rows=list(range(len(rows))))


def cut_or_skip(split, *args):
    try:
        return train_test_split(split, *args)
    except TransformerError as error:
        # Then every text is the last one of some label.
        assert "too few texts" in str(error)
        hypothesis.reject()


@given(ROWS, st.floats(0.05, 0.95), st.integers(0, 5))
def test_a_cut_covers_all_rows_and_no_text_stands_on_both_sides(rows, fraction, seed):
    split = split_of(rows)
    rest, part = cut_or_skip(split, fraction, seed)
    assert sorted(rest.rows + part.rows) == split.rows
    assert not {normalize_for_dedup(t) for t in rest.texts} & {normalize_for_dedup(t) for t in part.texts}
    assert len(rest) and rest.rows == sorted(rest.rows) and part.rows == sorted(part.rows)
    assert [split.texts[i] for i in part.rows] == part.texts
    assert [split.targets[i] for i in rest.rows] == rest.targets


@given(ROWS, st.floats(0.05, 0.95))
def test_no_label_is_lost_for_training(rows, fraction):
    split = split_of(rows)
    rest, part = cut_or_skip(split, fraction)
    assert len(part) and rest.labels == split.labels


@settings(max_examples=30)
@given(st.lists(st.integers(3, 60), min_size=2, max_size=5), st.floats(0.1, 0.5), st.integers(0, 3))
def test_labels_keep_their_shares_to_within_one_row(counts, fraction, seed):
    labels = [f"l{i}" for i, count in enumerate(counts) for _ in range(count)]
    split = Split([f"text {i}" for i in range(len(labels))], labels)
    _, part = train_test_split(split, fraction, seed)
    got = collections.Counter(part.targets)
    for i, count in enumerate(counts):
        assert abs(got[f"l{i}"] - fraction * count) <= 2
        assert got[f"l{i}"] >= 1
    assert abs(len(part) - fraction * len(split)) <= len(counts)


def test_the_seed_decides():
    split = Split([f"t{i}" for i in range(100)], ["x", "y"] * 50)
    assert train_test_split(split, 0.2, 3)[1].texts == train_test_split(split, 0.2, 3)[1].texts
    assert train_test_split(split, 0.2, 3)[1].texts != train_test_split(split, 0.2, 4)[1].texts


def test_multi_label_rows_spread_and_may_be_unlabelled():
    targets = [("a",), ("a", "b"), ()] * 20
    rest, part = train_test_split(
        Split([f"t{i}" for i in range(60)], targets, multi_label=True), 0.2, name="validation"
    )
    assert part.name == "validation" and part.labels == rest.labels == ("a", "b")
    assert part.targets.count(()) == 4


def test_conflicting_rows_stay_together():
    texts = [f"t{i // 2}" for i in range(40)]
    rest, part = train_test_split(Split(texts, ["x", "y"] * 20), 0.25)
    assert len(part) == 10 and collections.Counter(part.targets) == {"x": 5, "y": 5}


def test_what_cannot_be_cut_is_an_error():
    with pytest.raises(TransformerError, match="^test_fraction must be above 0 and below 1; got 1$"):
        train_test_split(Split(["a", "b"], ["x", "y"]), 1)
    with pytest.raises(TransformerError, match="^train has too few texts, 2, to cut a test split off"):
        train_test_split(Split(["a", "A ", "b"], ["x", "y", "z"]), 0.5)


@given(st.lists(st.sampled_from("xxxyz"), min_size=1, max_size=40), st.integers(1, 40), st.integers(0, 3))
def test_a_subset_has_its_size_and_every_label_it_can(labels, count, seed):
    split = Split([str(i) for i in range(len(labels))], labels)
    part = subset(split, count, seed)
    assert len(part) == min(count, len(labels))
    assert len(part.labels) == min(count, len(split.labels)) or len(part) == len(split)
    assert part.texts == sorted(part.texts, key=int)
    assert part.texts == subset(split, count, seed).texts


def test_a_subset_is_stratified():
    split = Split([str(i) for i in range(1000)], ["x"] * 750 + ["y"] * 250)
    assert collections.Counter(subset(split, 100).targets)["y"] in range(24, 27)
    assert subset(split, 100, 1).texts != subset(split, 100, 2).texts
    with pytest.raises(TransformerError, match="^train_examples must be at least 1; got 0$"):
        subset(split, 0)


def test_folds_hold_every_row_once_and_share_labels_evenly():
    targets = np.array([0] * 12 + [1] * 6 + [2])  # a label with one row is in one fold alone
    folds = fold_rows(targets, 3, seed=1)
    assert sorted(np.concatenate([rest for _, rest in folds])) == list(range(19))
    for rows, rest in folds:
        assert sorted([*rows, *rest]) == list(range(19))
        assert (np.bincount(targets[rest], minlength=3)[:2] == [4, 2]).all()
    several = fold_rows(np.eye(3)[targets], 3)
    assert sorted(np.concatenate([rest for _, rest in several])) == list(range(19))
    assert len(fold_rows(targets, 30)) == 12 and len(fold_rows(targets[:2], 3)) == 2
    assert fold_rows(np.arange(5), 3) == fold_rows(np.zeros(1, int), 3) == fold_rows(np.zeros(0, int), 3) == []
