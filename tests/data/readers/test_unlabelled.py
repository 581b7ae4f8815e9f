"""Texts without labels, or with labels that are not looked at."""

import json

import pytest

from tftransformer.data.readers.unlabelled import read_texts
from tftransformer.errors import TransformerError


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.txt", "first, text\n\n  second \n", ["first, text", "second"]),
        ("a.csv", "id,text\n1,one\n2,two\n", ["one", "two"]),
        ("a.csv", "text,label\none,\ntwo,x\n", ["one", "two"]),
        ("a.csv", "review,category\none,\ntwo,x\n", ["one", "two"]),
        ("a.tsv", "sentence1\tsentence2\na\tb\n", [("a", "b")]),
        ("a.jsonl", json.dumps({"text": "one", "label": None}) + "\n", ["one"]),
    ],
)
def test_texts_are_found(tmp_path, name, content, expected):
    (tmp_path / name).write_text(content)
    assert read_texts(tmp_path / name) == expected


def test_columns_may_be_named(tmp_path):
    (tmp_path / "a.csv").write_text("x,y\none,1\n")
    assert read_texts(tmp_path / "a.csv", "x") == ["one"] == read_texts(tmp_path / "a.csv", [1])


@pytest.mark.parametrize(
    ("name", "content", "options", "message"),
    [
        ("a.csv", "x,y\none,1\n", {"text_columns": "z"}, "no column 'z'"),
        ("a.csv", "x,y\none,1\n", {}, "no column looks like a text"),
        ("a.xlsx", "x", {}, "must end in one of .txt, .csv"),
        ("a.txt", "\n", {}, "is empty"),
    ],
)
def test_mistakes_in_one_line(tmp_path, name, content, options, message):
    (tmp_path / name).write_text(content)
    with pytest.raises(TransformerError, match=message) as error:
        read_texts(tmp_path / name, **options)
    assert "\n" not in str(error.value)
    with pytest.raises(TransformerError, match="is a folder"):
        read_texts(tmp_path)
