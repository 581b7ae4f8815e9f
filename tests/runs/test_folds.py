"""Stratified folds: disjoint, covering, fair to the labels, and closed under equal texts and groups."""

from collections import Counter

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from tftransformer.data.dedup import dedup_key
from tftransformer.data.split import Split
from tftransformer.errors import TransformerError
from tftransformer.runs.cross_validation import stratified_folds


def rows(count=60, labels=3, pairs=False):
    texts = [(f"text {i}", "why") if pairs else f"text {i}" for i in range(count)]
    return Split(texts, [f"label {i % labels}" for i in range(count)])


@hypothesis.given(
    texts=st.lists(st.sampled_from("abcdefghijklmno"), min_size=12, max_size=40),
    folds=st.integers(2, 5),
    seed=st.integers(0, 3),
    grouped=st.booleans(),
)
@hypothesis.settings(max_examples=60)
def test_folds_are_disjoint_and_cover_and_tear_nothing_apart(texts, folds, seed, grouped):
    draw = np.random.default_rng(len(texts))
    data = Split(
        [t.upper() if i % 2 else f" {t}" for i, t in enumerate(texts)], list(draw.choice(["x", "y"], len(texts)))
    )
    groups = [int(g) for g in draw.integers(0, 9, len(texts))] if grouped else None
    try:
        held_out = stratified_folds(data, folds, seed, groups)
    except TransformerError as error:
        assert "folds must be" in str(error)
        return
    assert sorted(row for fold in held_out for row in fold) == list(range(len(texts)))
    assert len(held_out) == folds and all(len(fold) for fold in held_out)
    for keys in ([dedup_key(t) for t in data.texts], groups or []):
        for fold in held_out:
            inside = {keys[i] for i in fold} if keys else set()
            assert not inside & {key for i, key in enumerate(keys) if i not in set(fold)}


@pytest.mark.parametrize("repeated", [False, True])
def test_labels_are_in_like_shares(repeated):
    data = rows()
    if repeated:
        data = Split([f"text {i // 3 * 3}" if i < 9 else t for i, t in enumerate(data.texts)], data.targets)
    for fold in stratified_folds(data, 5):
        counts = Counter(data.targets[i] for i in fold)
        assert len(counts) == 3 and max(counts.values()) - min(counts.values()) <= 1


def test_the_seed_decides():
    first, again, other = (stratified_folds(rows(), 4, seed) for seed in (0, 0, 1))
    assert all(np.array_equal(a, b) for a, b in zip(first, again))
    assert not all(np.array_equal(a, b) for a, b in zip(first, other))


def test_pairs_several_labels_and_rare_ones():
    assert len(stratified_folds(rows(pairs=True), 3)) == 3
    several = Split(
        [f"text {i}" for i in range(40)],
        [("common", "rare") if i % 10 == 0 else ("common",) if i % 3 else () for i in range(40)],
        multi_label=True,
    )
    for fold in stratified_folds(several, 4):
        assert sum("rare" in several.targets[i] for i in fold) == 1
    once = Split([f"text {i}" for i in range(21)], ["once", *["often"] * 20])
    assert sorted(map(len, stratified_folds(once, 5))) == [4, 4, 4, 4, 5]


def test_groups_and_texts_hold_together_by_way_of_each_other():
    data = Split(["a", "b", "b", "c", "d", "e"], ["x"] * 6)
    held_out = stratified_folds(data, 2, groups=[1, 1, 2, 2, 3, 4])
    assert any({0, 1, 2, 3} <= set(fold.tolist()) for fold in held_out)


@pytest.mark.parametrize(
    ("data", "options", "words"),
    [
        (Split(["a", "b"]), {}, "data must have labels"),
        (rows(), dict(folds=1), "folds must be an integer of at least 2; got 1"),
        (rows(), dict(groups=[1, 2]), "groups must be as many as rows, 60; got 2"),
        (Split(["a", "A ", "b"], ["x"] * 3), dict(folds=3), "the number of distinct texts, 2; got 3"),
        (rows(6), dict(folds=3, groups=[1, 1, 1, 2, 2, 2]), "the number of distinct groups, 2; got 3"),
        (rows(12, labels=6), dict(folds=3), "the rows of the commonest label, 2; got 3"),
    ],
)
def test_what_cannot_be_folded(data, options, words):
    with pytest.raises(TransformerError, match=words):
        stratified_folds(data, **options)


def test_a_fold_without_rows_is_refused(monkeypatch):
    class Unfair:
        def __init__(self, *_, **__):
            pass

        def split(self, *_):
            return [([], np.arange(60)), ([], np.arange(0))]

    monkeypatch.setattr("tftransformer.runs.cross_validation.StratifiedKFold", Unfair)
    with pytest.raises(TransformerError, match="fold 2 of 2 gets none"):
        stratified_folds(rows(), 2)
