"""vocab.json and merges.txt: both ways, and every way in which they can be wrong."""

import pytest

from tftransformer.errors import TransformerError
from tftransformer.text import byte_bpe_files as files


def test_each_byte_has_a_visible_character_of_its_own():
    characters = files.byte_characters()
    assert len(set(characters)) == 256
    assert all(c.isprintable() and not c.isspace() for c in characters)
    assert characters[ord("a")] == "a" and characters[0] == "Ā" and characters[ord(" ")] == "Ġ"


@pytest.mark.parametrize("tokens", [("a",), ("<s>", "Ġ", 'quo"te', "\\", "é", "\n", "😀")])
def test_vocabulary_round_trip(tokens):
    data = files.vocabulary_json_bytes(tokens)
    assert files.parse_vocabulary_json(data, "vocab.json") == tokens


@pytest.mark.parametrize("merges", [(), ("a b",), ("Ġ t", "# version", "é à")])
def test_merges_round_trip(merges):
    assert files.parse_merges(files.merges_bytes(merges), "merges.txt") == merges


def test_merges_may_end_lines_as_windows_does_and_do_without_a_version():
    assert files.parse_merges(b"#version: 0.2\r\na b\r\n", "m") == ("a b",)
    assert files.parse_merges(b"a b\nb c", "m") == ("a b", "b c")
    assert files.parse_merges(b"", "m") == ()


@pytest.mark.parametrize(
    "data, message",
    [
        (b"\xff", "tokenizer files must be UTF-8; v.json is not, in line 1"),
        (b'{"a": 0', "vocabulary must be JSON; v.json is not: .* in line 1"),
        (b'{"a": ' + b"9" * 5000 + b"}", "vocabulary must be JSON; v.json is not"),
        (b"[" * 100_000, "vocabulary must be JSON; v.json is not"),
        (b'["a"]', "vocabulary must map tokens to ids; v.json holds a list"),
        (b"{}", "at least one token; v.json holds none"),
        (b'{"a": 0, "b": 1, "a": 2}', "each token once; v.json has 'a' twice"),
        (b'{"a": 0, "b": 2}', "ids must be 0 to 1, one for each token; v.json gives 'b' 2"),
        (b'{"a": 0, "b": 0}', "ids must differ; v.json gives 0 to 'a' and 'b'"),
        (b'{"a": true}', "gives 'a' True"),
        (b'{"a": "0"}', "gives 'a' '0'"),
        (b'{"a": {}}', r"gives 'a' \(\)"),
        (b'{"\\ud800": 0}', "text that UTF-8 can; in v.json, token 0 is"),
    ],
)
def test_damaged_vocabularies(data, message):
    with pytest.raises(TransformerError, match=message):
        files.parse_vocabulary_json(data, "v.json")


@pytest.mark.parametrize(
    "vocabulary, message",
    [
        (["a", 1], "hold strings; in vocabulary, token 1 is 1"),
        (["a", "b", "a"], "each token once; vocabulary has 'a' as ids 0 and 2"),
        ([], "vocabulary holds none"),
    ],
)
def test_wrong_vocabularies(vocabulary, message):
    with pytest.raises(TransformerError, match=message):
        files.check_vocabulary(vocabulary)


@pytest.mark.parametrize(
    "data, message",
    [
        (b"a b\nab\n", "two parts a line; line 2 of m.txt is 'ab'"),
        (b"a b c\n", "two parts a line; line 1 of m.txt is 'a b c'"),
        (b"a b\n\nb c\n", "line 2 of m.txt is ''"),
        (b"a b\n\xe9 c\n", "tokenizer files must be UTF-8; m.txt is not, in line 2"),
    ],
)
def test_damaged_merges(data, message):
    with pytest.raises(TransformerError, match=message):
        files.parse_merges(data, "m.txt")


@pytest.mark.parametrize(
    "merges, message",
    [
        ("a b", "merges must be a sequence of strings; got 'a b'"),
        (["ab"], "merges must hold 'left right'; merge 1 is 'ab'"),
        ([("a", "b")], "merges must hold 'left right'; merge 1 is"),
        (["a b", "a c"], "merge 2, 'a c', needs 'c'"),
        (["a ab"], "merge 1, 'a ab', needs 'aab'; did you mean 'ab'"),
        (["a b", "a b"], "each pair once; 'a b' is number 1 and 2"),
    ],
)
def test_wrong_merges(merges, message):
    with pytest.raises(TransformerError, match=message):
        files.check_merges(merges, ["a", "b", "ab"])
