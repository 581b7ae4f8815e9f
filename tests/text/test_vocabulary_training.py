"""Training a vocabulary: what it always holds, its size, and that it fits the tokenizer."""

import gzip
import string
from collections import Counter

import pytest

from tftransformer.errors import TransformerError
from tftransformer.text.vocabulary_training import SPECIAL_TOKENS, count_words, learn_vocabulary, train_wordpiece
from tftransformer.text.wordpiece import WordPieceTokenizer

TEXTS = [
    f"The patient{' ' if i % 3 else 's '}reported {word}ing and {word}ed pain, café №{i}."
    for i in range(60)
    for word in ("walk", "burn", "ach", "throb", "itch")
]


def test_exact_size_specials_first_and_ascii_always():
    vocabulary = train_wordpiece(TEXTS, 200)
    assert len(vocabulary) == len(set(vocabulary)) == 200
    assert tuple(vocabulary[:5]) == SPECIAL_TOKENS
    letters = string.ascii_lowercase + string.digits
    assert {*letters, *string.punctuation, *("##" + c for c in letters)} <= set(vocabulary)
    assert "##." not in vocabulary and "A" not in vocabulary


def test_frequent_words_become_tokens():
    vocabulary = train_wordpiece(TEXTS, 200)
    assert {"the", "pain", "reported", "cafe"} <= set(vocabulary)
    tokenizer = WordPieceTokenizer(vocabulary)
    assert tokenizer.unknown_id not in tokenizer.encode("The zebra's PAIN: café, ok?")


def test_cased_vocabulary_holds_capitals():
    vocabulary = train_wordpiece(TEXTS, 300, lowercase=False)
    assert {*string.ascii_uppercase, "The", "café"} <= set(vocabulary)


def test_poor_text_is_filled_up():
    vocabulary = train_wordpiece(["a b"], 150)
    assert len(vocabulary) == 150 and vocabulary[-1].startswith("[unused")


def test_is_deterministic():
    assert train_wordpiece(TEXTS, 220) == train_wordpiece(reversed(TEXTS), 220)


def test_counts_are_of_normalised_words():
    counts = count_words(["Déjà vu, deja\tVU", "", "vu"])
    assert counts == Counter({"vu": 3, "deja": 2, ",": 1})


def test_files(tmp_path):
    (tmp_path / "a.txt").write_text("one two\ntwo\n", encoding="utf-8")
    with gzip.open(tmp_path / "b.txt.gz", "wt", encoding="utf-8") as file:
        file.write("two\n")
    assert count_words([tmp_path / "a.txt", tmp_path / "b.txt.gz"]) == {"one": 1, "two": 3}
    assert count_words(tmp_path / "a.txt") == {"one": 1, "two": 2}


def test_rare_characters_get_no_tokens():
    counts = Counter({"word": 100_000, "æon": 5_000, "☃": 1})
    vocabulary = learn_vocabulary(counts, 200)
    assert {"æ"} <= set(vocabulary) and "☃" not in vocabulary
    assert "☃" in learn_vocabulary(counts, 200, character_coverage=1.0)


def test_progress_is_told():
    lines = []
    train_wordpiece(TEXTS, 200, progress=lines.append)
    assert any("distinct" in line for line in lines) and lines[-1] == "learned 200 tokens"


def test_wrong_arguments(tmp_path):
    with pytest.raises(TransformerError, match="texts must hold at least one word; got none"):
        train_wordpiece([" ", ""], 200)
    with pytest.raises(TransformerError, match="vocabulary_size must be at least 109, .*; got 50"):
        train_wordpiece(["a"], 50)
    with pytest.raises(TransformerError, match="got one string"):
        train_wordpiece("a text", 200)
    with pytest.raises(TransformerError, match="character_coverage must be above 0 and at most 1; got 0"):
        train_wordpiece(["a"], 200, character_coverage=0)
    with pytest.raises(TransformerError, match="texts must be files that exist; got .*nowhere"):
        train_wordpiece([tmp_path / "nowhere.txt"], 200)
