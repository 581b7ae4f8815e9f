"""Batches of changed texts: every text and every copy once an epoch, alike in every run."""

import threading
from types import SimpleNamespace

import numpy as np
import pytest

from tftransformer.data.augmentation.operations import Operation
from tftransformer.data.augmentation.pipeline import Augmentation
from tftransformer.data.augmented_batches import augmented_batches, one_ahead
from tftransformer.data.examples import build_examples
from tftransformer.data.fields import Values
from tftransformer.data.pipeline import Epoch, token_batches
from tftransformer.data.row_packing import packer
from tftransformer.data.texts import Texts
from tftransformer.errors import TransformerError

tf = pytest.importorskip("tensorflow")

SEQUENCE_LENGTH = 40
BOUNDARIES = (6, 12, 14)
TEXTS = ["abcdefghij"[: 1 + i % 10] + chr(0x4E00 + i) for i in range(45)]


def tokenize(texts):
    """One token a character: its code point."""
    return tf.strings.unicode_decode(texts, "UTF-8")


SPECIAL = SimpleNamespace(start_id=1, separator_id=2, pad_id=0, pair_separators=1, add_start_token=True)
pack = packer(SPECIAL, SEQUENCE_LENGTH)


class Mark(Operation):
    """Puts marks, a number of them that is drawn, behind the text."""

    name = "mark"

    def apply(self, texts, draws):
        return [text + "!" * int(draw.integers(1, 9)) for text, draw in zip(texts, draws, strict=True)]


def batches(copies=1, pairs=False, weights=True, texts=TEXTS, operation=None, **settings):
    records = Texts(texts, [text[::-1] for text in texts] if pairs else None)
    if weights:
        records = Texts(records.first, records.second, None, np.arange(len(texts), dtype="float32"))
    labels = np.arange(len(texts), dtype="int32")
    examples = build_examples(records, Values(labels), tokenize=tokenize, pack=pack)
    augmentation = Augmentation(operation or Mark(), copies=copies, side="first")
    augmentation.prepare(records)
    settings = {"batch_size": 4, **settings}
    return augmented_batches(augmentation, records, examples, tokenize=tokenize, pack=pack, **settings)


def rows_of(dataset):
    """(label, weight, text without special tokens, segments) of every row in turn."""
    rows = []
    for x, y, *weight in dataset.as_numpy_iterator():
        for i, label in enumerate(y):
            kept = x["padding_mask"][i].astype(bool)
            text = "".join(chr(c) for c in x["token_ids"][i][kept][1:-1])
            rows.append((int(label), float(weight[0][i]) if weight else None, text, x["segment_ids"][i].sum()))
    return rows


@pytest.mark.parametrize(
    ("copies", "shuffle", "boundaries"),
    [(0, True, None), (0, False, BOUNDARIES), (1, True, BOUNDARIES), (3, False, None), (3, True, BOUNDARIES)],
)
def test_an_epoch_holds_every_text_and_its_copies(copies, shuffle, boundaries):
    dataset = batches(copies, shuffle=shuffle, boundaries=boundaries)
    rows = rows_of(dataset)
    assert int(dataset.cardinality()) == -(-len(rows) // 4) == len(list(dataset))
    for i, text in enumerate(TEXTS):
        own = [row for row in rows if row[0] == i]
        assert {row[1] for row in own} == {float(i)} and len(own) == max(1, copies + 1)
        assert all(row[2].rstrip("!") == text for row in own)
        assert sum(row[2] == text for row in own) == (1 if copies else 0)
    if copies == 3:
        # Each copy has a draw of its own: with eight outcomes, three that agree are rare.
        assert np.mean([len({row[2] for row in rows if row[0] == i}) > 2 for i in range(len(TEXTS))]) > 0.8
    labels = [row[0] for row in rows]
    assert (labels == sorted(labels)) == (not shuffle)
    if not shuffle and copies:
        assert [row[2] for row in rows[:: copies + 1]] == TEXTS


@pytest.mark.slow
def test_same_seed_same_epochs_and_another_in_each():
    def epochs(**settings):
        dataset = batches(weights=False, **settings)
        return rows_of(dataset), rows_of(dataset)

    first, second = epochs(seed=1)
    assert (first, second) == epochs(seed=1)
    assert sorted(first) != sorted(second) and [r[0] for r in first] != [r[0] for r in second]
    later, _ = epochs(seed=1, epoch=Epoch(1))
    assert later == second
    # The order depends on the seed of the order, what becomes of the texts does not.
    assert first != epochs(seed=2)[0] and sorted(first) == sorted(epochs(seed=2)[0])
    assert sorted(first) == sorted(epochs(seed=1, batch_size=7)[0])


@pytest.mark.parametrize("boundaries", [None, (6, 12, SEQUENCE_LENGTH)])
def test_changing_nothing_gives_the_batches_of_no_augmentation(boundaries):
    class Nothing(Mark):
        def apply(self, texts, draws):
            return texts

    dataset = batches(copies=0, operation=Nothing(), weights=False, boundaries=boundaries, seed=2)
    examples = build_examples(Texts(TEXTS), Values(np.arange(len(TEXTS), dtype="int32")), tokenize=tokenize, pack=pack)
    plain = token_batches(examples, 4, boundaries=boundaries, seed=2)
    assert dataset.element_spec == plain.element_spec
    for _ in range(2):
        assert rows_of(dataset) == rows_of(plain)


def test_pairs_keep_the_side_that_is_not_changed():
    for label, _, text, second in rows_of(batches(pairs=True, shuffle=False)):
        first, other = text.split(chr(2))
        assert first.rstrip("!") == TEXTS[label] and other == TEXTS[label][::-1]
        assert second == len(other) + 1


def test_long_epochs_come_in_windows(monkeypatch):
    monkeypatch.setattr("tftransformer.data.pipeline.WINDOW_BATCHES", 5)
    sizes, threads = [], set()

    class Counted(Mark):
        def apply(self, texts, draws):
            sizes.append(len(texts))
            threads.add(threading.current_thread().name)
            return super().apply(texts, draws)

    dataset = batches(operation=Counted(), batch_size=3, boundaries=(6, 14))
    rows = rows_of(dataset)
    assert len(sizes) == 6 and sum(sizes) == len(TEXTS) and len(rows) == 90
    assert threading.main_thread().name not in threads
    assert {len(y) for _, y, _ in dataset.as_numpy_iterator()} == {3}
    assert {x["token_ids"].shape[1] for x, _, _ in dataset.as_numpy_iterator()} <= {6, 14, SEQUENCE_LENGTH}


def test_an_epoch_that_is_left_leaves_no_thread():
    before = threading.active_count()
    given = one_ahead(iter(range(5)))
    assert next(given) == 0
    given.close()
    assert threading.active_count() == before
    with pytest.raises(TransformerError, match="no more"):
        list(one_ahead(failing()))


def failing():
    yield 1
    raise TransformerError("no more")


def test_errors_are_one_line():
    with pytest.raises(TransformerError, match="batch_size must be at least 1; got 0"):
        batches(batch_size=0)
    with pytest.raises(TransformerError, match="there are no examples"):
        batches(texts=[])
    examples = build_examples(Texts(["a"]), tokenize=tokenize, pack=pack)
    with pytest.raises(TransformerError, match="texts must be as many as examples, 1; got 2"):
        augmented_batches(Augmentation("swap"), Texts(["a", "b"]), examples, 4, tokenize=tokenize, pack=pack)
