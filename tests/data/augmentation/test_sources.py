"""Synonyms from WordNet and from an encoder's token table."""

import sys
import types

import numpy as np
import pytest

from tftransformer.data.augmentation.sources import (
    EmbeddingNeighbours,
    WordNetSynonyms,
    encoder_neighbours,
    whole_words,
)
from tftransformer.errors import TransformerError
from tftransformer.text.spec import TokenizerSpec

SPECIAL = {
    "unknown_token": "[UNK]", "pad_token": "[PAD]", "start_token": "[CLS]", "separator_token": "[SEP]",
    "mask_token": "[MASK]",
}  # fmt: skip


class Lemma:
    def __init__(self, name, count):
        self.name, self.count = lambda: name, lambda: count


class Meaning:
    def __init__(self, **counts):
        self.counts = counts

    def lemmas(self):
        return [Lemma(*item) for item in self.counts.items()]

    def lemma_names(self):
        return list(self.counts)


class WordNet:
    """As much of nltk's reader as is used."""

    meanings = {
        "film": [
            Meaning(cinema=9, Film=1),
            Meaning(movie=3, film=2, motion_picture=0, moving_picture_show=0),
            Meaning(coat=8),
        ]
    }

    def ensure_loaded(self):
        pass

    def synsets(self, word):
        return self.meanings.get(word, [])


class MissingWordNet:
    def ensure_loaded(self):
        raise LookupError("Resource wordnet not found.\n  Please use the NLTK Downloader")


@pytest.fixture
def nltk_with(monkeypatch):
    def install(wordnet):
        corpus = types.ModuleType("nltk.corpus")
        corpus.wordnet = wordnet
        package = types.ModuleType("nltk")
        package.corpus = corpus
        monkeypatch.setitem(sys.modules, "nltk", package)
        monkeypatch.setitem(sys.modules, "nltk.corpus", corpus)

    return install


def test_wordnet_gives_the_other_words_of_all_meanings(nltk_with):
    nltk_with(WordNet())
    source = WordNetSynonyms()
    # What the word means most often first, long names not at all.
    assert source("Film") == ["movie", "motion picture", "cinema", "coat"] and source("xyz") == []
    assert WordNetSynonyms(count=1)("film") == ["movie"]


def test_missing_wordnet_says_how_to_install_it(nltk_with, monkeypatch):
    nltk_with(MissingWordNet())
    with pytest.raises(
        TransformerError, match="nltk finds none, or not all of it: .*nltk.downloader wordnet.*embeddings"
    ):
        WordNetSynonyms()
    monkeypatch.setitem(sys.modules, "nltk.corpus", None)
    with pytest.raises(TransformerError, match="nltk is not installed: run `pip install nltk`") as error:
        WordNetSynonyms()
    assert "\n" not in str(error.value)


def test_neighbours_are_the_nearest_rows_in_order(monkeypatch):
    draw = np.random.default_rng(0)
    table = draw.normal(size=(60, 8))
    table[1], table[2] = table[0] + 0.01, table[0] + 0.1 * draw.normal(size=8)
    words = [f"w{i}" for i in range(60)]
    source = EmbeddingNeighbours(words, table, count=2, least_similarity=0.9)
    assert source("W0") == ["w1", "w2"] and source("unheard") == []
    assert "w0" not in source("w0")
    many = EmbeddingNeighbours(words, table, count=5, least_similarity=0.0)
    many.prepare([*words, "unheard"])
    one = EmbeddingNeighbours(words, table, count=5, least_similarity=0.0)
    expected = {word: one(word) for word in words}
    monkeypatch.setattr(many, "_search", None)
    assert {word: many(word) for word in words} == expected
    # By hand: cosines of vectors less their mean.
    rows = table - table.mean(axis=0)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    order = np.argsort(-(rows[7] @ rows.T))[1:6]
    assert expected["w7"] == [words[i] for i in order if rows[7] @ rows[i] >= 0]


@pytest.mark.parametrize(
    ("kind", "tokens", "words"),
    [
        ("wordpiece", ("[PAD]", "film", "##ing", "a", "3d", "größe", "!"), ["film", "größe"]),
        ("byte_bpe", ("[PAD]", "Ġfilm", "ing", "Ġa", "ĠgrÃ¶ÃŁe"), ["film"]),
        ("sentencepiece", ("[PAD]", "▁film", "ing", "▁a", "▁größe"), ["film", "größe"]),
    ],
)
def test_whole_words_of_a_vocabulary(kind, tokens, words):
    ids, found = whole_words(TokenizerSpec(kind, tokens, SPECIAL, {}))
    assert found == words and [tokens[i].lstrip("Ġ▁") for i in ids] == words


def test_an_encoders_table_is_read_by_its_vocabulary():
    spec = TokenizerSpec("wordpiece", ("[PAD]", "film", "##ing", "movie", "stone"), SPECIAL, {})
    table = np.array([[0, 0], [1, 0.1], [1, 0.1], [1, 0], [-1, 0]], "float32")
    assert encoder_neighbours(spec, table, least_similarity=0.5)("film") == ["movie"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda: EmbeddingNeighbours(["a", "b"], np.ones((3, 2))), r"each of the 2 words; got shape \(3, 2\)"),
        (lambda: EmbeddingNeighbours([], np.ones((0, 2))), "words must hold a word at least"),
        (
            lambda: encoder_neighbours(TokenizerSpec("wordpiece", ("ab", "cd"), SPECIAL, {}), np.ones((1, 2))),
            r"each of the 2 tokens; got shape \(1, 2\)",
        ),
    ],
)
def test_errors_are_one_line(change, words):
    with pytest.raises(TransformerError, match=words):
        change()
