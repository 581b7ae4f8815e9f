"""Pairs of texts from parallel files and tables, their splits, and what is odd about them."""

import json

import numpy as np
import pytest

from tftransformer.data import Split, check_pairs, load_pairs
from tftransformer.data.parallel import SHORTER, load_sources
from tftransformer.data.split import Splits
from tftransformer.errors import TransformerError

PAIRS = [(f"source {i}", f"target {i}") for i in range(40)]


def write(folder, name, pairs=PAIRS, ending="\n"):
    for language, side in zip(("en", "de"), zip(*pairs, strict=True), strict=True):
        (folder / f"{name}.{language}").write_text(ending.join(side) + ending, newline="")


def test_parallel_files_are_read_line_by_line(tmp_path):
    write(tmp_path, "train", [*PAIRS, ("", "nothing"), (" x ", "y\t")])
    write(tmp_path, "val", PAIRS[:3], "\r\n")
    write(tmp_path, "test_2016", PAIRS[:5])
    splits = load_pairs(tmp_path, "en", "de")
    assert splits.train.texts == [*PAIRS, ("x", "y")] and splits.train.where(40).endswith("train.en:42")
    assert splits.validation.texts == PAIRS[:3] and splits.test.texts == PAIRS[:5]
    assert load_pairs(tmp_path, "de", "en").test.texts == [pair[::-1] for pair in PAIRS[:5]]


def test_tables_have_columns(tmp_path):
    rows = [{"id": i, "en": source, "de": target} for i, (source, target) in enumerate(PAIRS)]
    (tmp_path / "all.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "all.tsv").write_text("en\tde\n" + "".join("\t".join(pair) + "\n" for pair in PAIRS))
    folder = tmp_path / "one"
    folder.mkdir()
    (folder / "pairs.csv").write_text("en,de\n" + "".join(",".join(pair) + "\n" for pair in PAIRS))
    for data in (tmp_path / "all.jsonl", tmp_path / "all.tsv", folder):
        splits = load_pairs(data, "en", "de", test_fraction=0.25, validation_fraction=0.1)
        assert [len(split) for split in splits] == [26, 4, 10]
        assert sorted(pair for split in splits for pair in split.texts) == sorted(PAIRS)


def test_a_cut_keeps_one_source_on_one_side(tmp_path):
    write(tmp_path, "train", [(f"Source {i % 7}", f"target {i}") for i in range(70)])
    splits = load_pairs(tmp_path, "en", "de", test_fraction=0.2, validation_fraction=0.2)
    sources = [{source for source, _ in split.texts} for split in splits]
    assert not (sources[0] & sources[1] or sources[0] & sources[2] or sources[1] & sources[2])
    again = load_pairs(tmp_path, "en", "de", test_fraction=0.2, validation_fraction=0.2)
    assert [split.texts for split in again] == [split.texts for split in splits]


def test_what_is_odd_is_counted():
    long = "a long sentence about nothing at all"
    train = Split([("one", "eins"), (long, "kurz"), ("same", "same")], None)
    test = Split([("ONE", "eins"), ("two", "zwei")], None, "test")
    lengths = {"train": (np.array([3, 12, 3]), np.array([2, 2, 2])), "test": (np.array([3, 3]), np.array([2, 9]))}
    report = check_pairs(Splits(train, None, test), lengths, (10, 8))
    assert (report.cut, report.unlike) == ({"train": (1, 0), "test": (0, 1)}, {"train": 1, "test": 0})
    assert report.lost == {"train": (2 / 18, 0.0), "test": (0.0, 1 / 11)}
    assert (report.same, report.leaked) == ({"train": 1, "test": 0}, {"test": 1})
    assert "1 whose source is among the training pairs" in str(report)


def test_several_references_are_pairs_to_train_on_and_kept_apart_elsewhere(tmp_path, capsys):
    rows = [
        {"id": "1", "source": ["One.", " ", "Two. "], "target": ["a", "", " b"]},
        {"source": "Three.", "target": "c"},
    ]
    empty = [{"source": [], "target": "d"}, {"source": "Four.", "target": [" "]}]
    for name in ("train", "dev", "test"):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in [*rows, *empty]))
    splits = load_pairs(tmp_path, "source", "target")
    assert splits.train.texts == [("One. Two.", "a"), ("One. Two.", "b"), ("Three.", "c")]
    assert splits.train.references is None and [splits.train.where(i)[-2:] for i in range(3)] == [":1", ":1", ":2"]
    for split in (splits.validation, splits.test):
        assert split.texts == [("One. Two.", "a"), ("Three.", "c")]
        assert split.all_references() == [("a", "b"), ("c",)]
        assert split.take([1]).all_references() == [("c",)]
    assert splits.train.all_references() == [("a",), ("b",), ("c",)]
    assert capsys.readouterr().out.count("2 of 4 pairs have an empty side and are left out") == 3


def test_references_cut_off_the_training_pairs_stay_together(tmp_path):
    rows = [{"text": f"text {i}", "summary": [f"{i} a", f"{i} b"]} for i in range(20)]
    (tmp_path / "all.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    splits = load_pairs(tmp_path / "all.jsonl", None, None, validation_fraction=0.1, test_fraction=0.2)
    assert [len(split) for split in splits] == [28, 2, 4]
    assert all(len(found) == 2 for found in splits.test.all_references())
    assert not {text for text, _ in splits.train.texts} & {text for text, _ in splits.test.texts}


@pytest.mark.parametrize(
    ("names", "chosen"),
    [
        (("paper_id", "title", "source", "target"), ("source", "target")),
        (("id", "Highlights", "Article"), ("Article", "Highlights")),
        (("article", "abstract", "section_names"), ("article", "abstract")),
        (("abstract", "title"), ("abstract", "title")),
        (("email body", "subject line"), ("email body", "subject line")),
    ],
)
def test_columns_go_by_usual_names(tmp_path, capsys, names, chosen):
    (tmp_path / "t.csv").write_text(
        "\n".join(",".join(f"{name} {i}" if i else name for name in names) for i in range(3))
    )
    splits = load_pairs(tmp_path / "t.csv", None, None, validation_fraction=0, test_fraction=0)
    assert splits.train.texts[0] == tuple(f"{name} 1" for name in chosen)
    assert f"texts are in the column {chosen[0]!r}, summaries in {chosen[1]!r}" in capsys.readouterr().out


def test_a_named_column_is_not_the_other_side_s(tmp_path):
    (tmp_path / "t.csv").write_text("abstract,body,title\na,b,t\nc,d,u\n")
    for source, target, expected in (
        (None, "abstract", ("b", "a")),
        ("title", None, ("t", "a")),
        (None, "body", ("a", "b")),
    ):
        splits = load_pairs(tmp_path / "t.csv", source, target, validation_fraction=0, test_fraction=0)
        assert splits.train.texts[0] == expected


def test_texts_to_write_for_are_a_column(tmp_path):
    path = tmp_path / "new.jsonl"
    path.write_text('{"title": "x", "source": ["One.", "Two."]}\n{"title": "y", "source": "Three."}\n')
    assert load_sources(path) == ["One. Two.", "Three."] and load_sources(path, "title") == ["x", "y"]
    path.write_text('{"source": "a"}\n{"source": ""}\n')
    for column, told in (
        (None, "new.jsonl:2: 'source' must hold a text; it is empty"),
        ("sorce", "did you mean 'source'"),
    ):
        with pytest.raises(TransformerError, match=told):
            load_sources(path, column)


def test_summaries_are_shorter_than_their_texts():
    train = Split([("a text that says much about little", "little"), ("short", "a long summary of it")], None)
    lengths = {"train": (np.array([8, 3]), np.array([3, 6]))}
    report = check_pairs(Splits(train, None, None), lengths, (8, 8), SHORTER)
    assert report.unlike == {"train": 1} and "1 whose target is longer than its source" in str(report)


def test_what_cannot_be_read_is_said_in_a_line(tmp_path):
    write(tmp_path, "train")
    with (tmp_path / "train.de").open("a") as file:
        file.write("one more\n")
    (tmp_path / "table.csv").write_text("en,de\na,b\n")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "notes.md").write_text("x")
    (tmp_path / "empty").mkdir()
    write(tmp_path / "empty", "train", [("", "x"), ("y", "")])
    for data, source, target, told in (
        (tmp_path, "en", "de", "equally many lines; they have 40 and 41"),
        (tmp_path, "en", "fr", "has train.en and no file of 'fr' beside it"),
        (tmp_path, "en", "en", "target must be another than source"),
        (tmp_path / "table.csv", "en", "ed", "no column 'ed'.*did you mean 'en' or 'de'"),
        (tmp_path / "nowhere", "en", "de", "does not exist"),
        (tmp_path / "folder", "en", "de", "must have files such as train.en and train.de.*it has notes.md"),
        (tmp_path / "empty", "en", "de", "must have pairs to train on"),
        (
            tmp_path / "table.csv",
            None,
            None,
            "source must be named: .*table.csv has no column such as 'article'; it has en, de",
        ),
        (tmp_path / "table.csv", "en", None, "target must be named: .* no column such as 'summary'"),
        (tmp_path / "table.csv", "2", "de", "source must be another column than the other side's; got '2' for both"),
        (tmp_path / "folder", None, None, "must have files such as train.csv or train.jsonl, with a column of texts"),
    ):
        with pytest.raises(TransformerError, match=told) as raised:
            load_pairs(data, source, target)
        assert "\n" not in str(raised.value)
    with pytest.raises(TransformerError, match="test_fraction must be at least 0 and below 0.5; got 0.7"):
        load_pairs(tmp_path / "table.csv", "en", "de", test_fraction=0.7)
