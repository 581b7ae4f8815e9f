"""Pipelines of operations: the same draws in every run, others in each epoch, and how they are spelled."""

import numpy as np
import pytest

from tftransformer.data.augmentation.operations import BackTranslation, DeleteWords, SwapWords
from tftransformer.data.augmentation.pipeline import Augmentation, as_augmentation
from tftransformer.data.augmentation.sources import EmbeddingNeighbours, WordNetSynonyms
from tftransformer.data.texts import Texts
from tftransformer.errors import TransformerError

TEXTS = [f"text {i} of some more words that can be moved around" for i in range(30)]
PAIRS = Texts(TEXTS, [text.upper() for text in TEXTS])


def prepared(*operations, texts=None, **settings):
    augmentation = Augmentation(*operations, **settings)
    augmentation.prepare(texts or Texts(TEXTS))
    return augmentation


def texts_of(augmentation, rows, copies=0, epoch=0, texts=None):
    rows = np.array(rows)
    return augmentation.augment(texts or Texts(TEXTS), rows, np.full(len(rows), copies), epoch).first


def no_wordnet(self, count=8):
    raise TransformerError("synonyms need WordNet")


def test_a_text_is_changed_alike_whatever_stands_beside_it():
    augmentation = prepared("swap:0.3,delete:0.2", seed=3)
    together = texts_of(augmentation, range(30))
    order = np.random.default_rng(0).permutation(30)
    assert [together[i] for i in order] == texts_of(augmentation, order)
    assert texts_of(prepared("swap:0.3", "delete:0.2", seed=3), [4]) == [together[4]]
    assert sum(new != old for new, old in zip(together, TEXTS, strict=True)) > 20


def test_epochs_copies_and_seeds_draw_anew():
    augmentation = prepared("swap:0.5", seed=0)
    base = texts_of(augmentation, range(30))
    for other in (
        texts_of(augmentation, range(30), epoch=1),
        texts_of(augmentation, range(30), copies=1),
        texts_of(prepared("swap:0.5", seed=1), range(30)),
    ):
        assert sum(a != b for a, b in zip(base, other, strict=True)) > 25


@pytest.mark.parametrize("side", ["both", "first", "second"])
def test_the_chosen_side_of_pairs_is_changed(side):
    augmentation = prepared("swap:0.5", side=side, texts=PAIRS)
    rows = np.arange(30)
    changed = augmentation.augment(PAIRS, rows, rows * 0, 0)
    first = sum(a != b for a, b in zip(changed.first, PAIRS.first, strict=True))
    second = sum(a != b for a, b in zip(changed.second, PAIRS.second, strict=True))
    assert (first > 25) == (side != "second") and (first == 0) == (side == "second")
    assert (second > 25) == (side != "first") and (second == 0) == (side == "first")
    assert changed.targets is None
    # Each side has draws of its own.
    if side == "both":
        assert [text.upper() for text in changed.first] != changed.second


def test_operations_work_one_after_another():
    there = lambda texts: [f"new {text}" for text in texts]  # noqa: E731
    translation = BackTranslation(there, list, fraction=1.0)
    assert Augmentation(translation)(["", "text"]) == ["", "new text"]
    assert Augmentation(translation, "swap:1.0")(["text"]) in (["new text"], ["text new"])


def test_an_empty_result_leaves_the_text():
    class Nothing(SwapWords):
        def apply(self, texts, draws):
            return [" "] * len(texts)

    assert Augmentation(Nothing())(["a text"]) == ["a text"]


def test_synonyms_come_from_where_they_are_asked_for(monkeypatch):
    table = np.array([[1.0, 0.1], [0.9, 0.1], [-1.0, 0.0], [-1.0, -0.2]])
    neighbours = EmbeddingNeighbours(["film", "movie", "one", "two"], table)
    for given in (neighbours, lambda word: {"film": ["movie"]}.get(word, [])):
        assert Augmentation("synonyms:1", synonyms=given)(["a film"]) == ["a movie"]
    monkeypatch.setattr(WordNetSynonyms, "__init__", no_wordnet)
    with pytest.raises(TransformerError, match="synonyms need WordNet"):
        Augmentation("swap", "insert:0.1")
    Augmentation("swap", synonyms="wordnet")
    for choice in ("embeddings", "wordnet_or_embeddings"):
        augmentation = Augmentation("synonyms:1", synonyms=choice)
        augmentation.prepare(Texts(["a film"]), lambda: neighbours)
        changed = augmentation.augment(Texts(["a film"]), np.array([0]), np.array([0]), 0)
        assert changed.first == ["a movie"]
        with pytest.raises(TransformerError, match="synonyms='embeddings' needs an encoder"):
            augmentation(["a film"])


def test_spellings():
    augmentation = Augmentation("swap:0.05, delete", DeleteWords(0.2))
    assert str(augmentation) == "swap:0.05,delete:0.1,delete:0.2"
    assert augmentation.rows_per_text == 2 and Augmentation("swap", copies=0).rows_per_text == 1
    assert as_augmentation(None) is None and as_augmentation(augmentation) is augmentation
    for spelled in ("swap:0.1,delete:0.1", ["swap:0.1", "delete:0.1"], [SwapWords(), "delete"]):
        assert str(as_augmentation(spelled)) == "swap:0.1,delete:0.1"
    assert str(as_augmentation(SwapWords())) == "swap:0.1"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda: Augmentation(), "must name an operation, such as 'swap:0.1'; got none"),
        (lambda: Augmentation("swp:0.1"), "operation must be one of synonyms, swap, .*; did you mean 'swap'"),
        (lambda: Augmentation("swap:0.1,"), "operation must be one of .*; got ''"),
        (lambda: Augmentation("swap:much"), "fraction of swap must be above 0 and at most 1; got 'much'"),
        (lambda: Augmentation("swap:"), "fraction of swap must be above 0 and at most 1; got ''"),
        (lambda: Augmentation("delete:2"), "fraction of delete must be above 0 and at most 1; got 2.0"),
        (
            lambda: Augmentation("back_translation:0.1"),
            r"back_translation cannot be given as a string: pass BackTranslation\(forward, backward, fraction\)",
        ),
        (lambda: Augmentation(0.1), "an operation must be a string such as .*; got float"),
        (lambda: Augmentation("swap", BackTranslation(list, list)), "back_translation must come first"),
        (lambda: Augmentation("swap", copies=-1), "copies must be an integer of at least 0; got -1"),
        (lambda: Augmentation("swap", copies=0.5), "copies must be an integer of at least 0; got 0.5"),
        (lambda: Augmentation("swap", seed=-1), "seed must be an integer of at least 0; got -1"),
        (lambda: Augmentation("swap", side="frist"), "side must be one of .*; did you mean 'first'"),
        (lambda: Augmentation("swap", synonyms="wordnt"), "synonyms must be one of .*; did you mean 'wordnet'"),
        (lambda: Augmentation("swap", side="second")(["a"]), "side='second' is for pairs"),
        (lambda: as_augmentation(0.1), "augmentation must be an Augmentation or a string such as .*; got float"),
    ],
)
def test_errors_are_one_line(change, words):
    with pytest.raises(TransformerError, match=words) as error:
        change()
    assert "\n" not in str(error.value)
