"""Vocabulary files: exact both ways, and what is wrong with one is said with its line."""

import pytest

from tftransformer.errors import TransformerError
from tftransformer.text.vocabulary import check_tokens, read_vocabulary, write_vocabulary


def test_odd_tokens_survive(tmp_path):
    tokens = (
        "[PAD]",
        " leading",
        "trailing ",
        "\ttab",
        "a b",
        "",
        "##",
        "é",
        "e\u0301",
        "\u2028",
        "\x85",
        "\x0b",
        "\0",
        "😀",
    )
    path = write_vocabulary(tokens, tmp_path)
    assert path == tmp_path / "vocab.txt"
    assert read_vocabulary(path) == tokens
    assert path.read_bytes().count(b"\n") == len(tokens)


@pytest.mark.parametrize("data", [b"a\nb\n", b"a\nb", b"a\r\nb\r\n", b"a\rb"])
def test_line_ends(tmp_path, data):
    (tmp_path / "v").write_bytes(data)
    assert read_vocabulary(tmp_path / "v") == ("a", "b")


@pytest.mark.parametrize(
    "data, message",
    [
        (b"", "must hold one token a line; .* is empty"),
        (b"a\nb\r\nc\xff\nd\n", "must be UTF-8; .* is not, in line 3"),
        (b"a\nb\na\n", "each token once; .* has 'a' in lines 1 and 3"),
    ],
)
def test_wrong_files(tmp_path, data, message):
    (tmp_path / "vocab.txt").write_bytes(data)
    with pytest.raises(TransformerError, match=message):
        read_vocabulary(tmp_path / "vocab.txt")


def test_missing_file(tmp_path):
    with pytest.raises(TransformerError, match="vocabulary must be a file that exists; got .*nowhere"):
        read_vocabulary(tmp_path / "nowhere")


@pytest.mark.parametrize(
    "tokens, message",
    [
        (["a", "b\n"], "line breaks; in vocabulary, token 2 is 'b"),
        (["a", "\r"], "line breaks; in vocabulary, token 2"),
        (["a", 3], "must hold strings; in vocabulary, token 2 is 3"),
        (["\ud800"], "UTF-8 can; in vocabulary, token 1"),
        ([], "at least one token"),
    ],
)
def test_tokens_that_no_file_can_hold(tmp_path, tokens, message):
    with pytest.raises(TransformerError, match=message):
        check_tokens(tokens)
    with pytest.raises(TransformerError, match=message):
        write_vocabulary(tokens, tmp_path)
    assert list(tmp_path.iterdir()) == []
