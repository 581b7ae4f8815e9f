"""What language models learn from: every line goes to one split, units are what they are called, mistakes are told."""

import json

import pytest

from tftransformer.data import load_language_texts
from tftransformer.errors import TransformerError

LINES = [f"line {number} of the text" if number % 4 else "" for number in range(1, 401)]


@pytest.fixture
def book(tmp_path):
    path = tmp_path / "book.txt"
    path.write_text("\n".join(LINES) + "\n", encoding="utf-8")
    return path


@pytest.mark.parametrize("unit", ["paragraph", "line", "file"])
def test_every_line_is_in_one_split_in_order(book, unit):
    splits = load_language_texts(book, unit=unit, validation_fraction=0.1, test_fraction=0.2)
    texts = [text for split in splits for text in split.texts]
    assert [line for text in texts for line in text.split("\n") if line] == [line for line in LINES if line]
    shares = [sum(map(len, split.texts)) / sum(map(len, LINES)) for split in splits]
    assert shares[2] == pytest.approx(0.2, abs=0.03) and shares[1] == pytest.approx(0.08, abs=0.03)
    sizes = {"paragraph": 3, "line": 1}
    if unit == "file":
        assert [len(split) for split in splits] == [1, 1, 1]
    else:
        assert {text.count("\n") + 1 for text in texts} == {sizes[unit]}


def test_files_are_found_by_their_names(tmp_path, capsys):
    for name in ("wiki.valid.tokens", "wiki.test.tokens"):
        (tmp_path / name).write_text(" = Title = \n \n" + " Some words . \n" * 40)
    (tmp_path / "README.md").write_text("not a text")
    splits = load_language_texts(tmp_path, unit="line")
    assert splits.train.texts[0] == "= Title =" and len(splits.test) == 41
    assert len(splits.train) + len(splits.validation) == 41 and len(splits.validation) >= 1
    assert "wiki.valid.tokens is trained on in its place" in capsys.readouterr().out
    (tmp_path / "wiki.train.tokens").write_text("a\nb\n")
    splits = load_language_texts(tmp_path, unit="line")
    assert [len(split) for split in splits] == [2, 41, 41]


def test_files_without_a_word_for_a_split_all_lose_their_ends(tmp_path):
    for name in "ab":
        (tmp_path / f"{name}.txt").write_text("".join(f"{name} {n:03}\n" for n in range(100)))
    splits = load_language_texts(tmp_path, unit="line", validation_fraction=0.1, test_fraction=0.1)
    for split in splits:
        assert {text[0] for text in split.texts} == {"a", "b"}


def test_one_prompt_and_one_chat_are_on_one_side(tmp_path):
    path = tmp_path / "pairs.jsonl"
    path.write_text("".join(json.dumps({"prompt": f"{n % 30}", "answer": f"{n}"}) + "\n" for n in range(90)))
    splits = load_language_texts(path, validation_fraction=0.1, test_fraction=0.1)
    sides = [{prompt for prompt, _ in split.texts} for split in splits]
    assert sum(map(len, sides)) == len(set.union(*sides)) == 30 and sum(map(len, splits)) == 90
    assert load_language_texts(path).test.texts == load_language_texts(path).test.texts


def test_a_table_of_csv_holds_prompts_too(tmp_path):
    path = tmp_path / "train.csv"
    path.write_text("answer,prompt\n4,2+2\n2,1+1\n")
    splits = load_language_texts(path, validation_fraction=0, test_fraction=0)
    assert splits.train.texts == [("2+2", "4"), ("1+1", "2")] and splits.test is None


@pytest.mark.parametrize(
    ("files", "told"),
    [
        ({"book.txt": ""}, "book.txt is empty"),
        ({"book.txt": "x", "a.jsonl": "{}"}, "it holds both"),
        ({"notes.doc": "x"}, "must have files such as train.txt or train.jsonl; it has notes.doc"),
        ({"test.txt": "x"}, "must have a file to train on; it has test.txt"),
        ({"train.txt": "x", "training.txt": "x"}, "both train.txt and training.txt may be the train split"),
        ({"book.txt": "\xff".encode("latin-1")}, "book.txt:1: not UTF-8"),
        ({"train.jsonl": '{"messages": []}'}, "train.jsonl:1: messages must be a list"),
    ],
)
def test_what_cannot_be_read_is_told_in_a_line(tmp_path, files, told):
    for name, content in files.items():
        (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(TransformerError, match=told) as raised:
        load_language_texts(tmp_path, unit="line")
    assert "\n" not in str(raised.value)


def test_names_and_numbers_are_checked(book):
    for arguments, told in (
        (
            {"unit": "paragraphs"},
            "unit must be one of paragraph, line, file; got 'paragraphs'; did you mean 'paragraph'",
        ),
        ({"validation_fraction": 0.5}, "validation_fraction must be at least 0 and below 0.5"),
        ({"data": book.with_name("bok.txt")}, "dataset: .*bok.txt does not exist; did you mean 'book.txt'"),
        ({"data": book.with_suffix(".doc")}, "does not exist"),
    ):
        with pytest.raises(TransformerError, match=told):
            load_language_texts(**{"data": book, **arguments})
