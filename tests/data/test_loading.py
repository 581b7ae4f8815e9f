import collections
import json

import numpy as np
import pytest

from tftransformer.data.dedup import normalize_for_dedup
from tftransformer.data.loading import load
from tftransformer.data.split import Split, Splits
from tftransformer.errors import TransformerError

ROWS = [(f"text {i}", "ab"[i % 2]) for i in range(40)]


def write(path, rows=ROWS, header=("text", "label"), delimiter=","):
    lines = [header, *rows] if header else rows
    path.write_text("".join(delimiter.join(line) + "\n" for line in lines), encoding="utf-8")
    return path


def texts(splits):
    return [sorted(split.texts) for split in splits]


def test_one_file_is_cut_in_three(tmp_path):
    splits = load(write(tmp_path / "data.csv"))
    assert [len(split) for split in splits] == [28, 4, 8]
    assert [split.name for split in splits] == ["train", "validation", "test"]
    assert sorted(sum((split.texts for split in splits), [])) == sorted(text for text, _ in ROWS)
    assert all(collections.Counter(s.targets)["a"] * 2 == len(s) for s in splits)
    assert splits.test.where(0).startswith(f"{tmp_path / 'data.csv'}:")
    assert texts(splits) == texts(load(tmp_path / "data.csv"))
    assert texts(splits) != texts(load(tmp_path / "data.csv", seed=1))


def test_the_three_formats_say_the_same(tmp_path):
    write(tmp_path / "data.csv")
    write(tmp_path / "data.tsv", delimiter="\t")
    rows = "".join(json.dumps({"text": t, "label": label}) + "\n" for t, label in ROWS)
    (tmp_path / "data.jsonl").write_text(rows)
    results = [texts(load(str(tmp_path / f"data.{kind}"))) for kind in ("csv", "tsv", "jsonl")]
    assert results[0] == results[1] == results[2]


@pytest.mark.parametrize(
    "names",
    [
        ("train.csv", "validation.csv", "test.csv"),
        ("train.tsv", "dev.jsonl", "test.csv"),
        ("Training-set.csv", "my_val.csv", "medical_tc_test.csv"),
        ("stsb-en-train.csv", "stsb.devel.csv", "testing.csv"),
    ],
)
def test_a_folder_by_the_names_of_its_files(tmp_path, names):
    for i, name in enumerate(names):
        rows = [(f"{i} {t}", label) for t, label in ROWS]
        if name.endswith("jsonl"):
            lines = [json.dumps({"text": t, "label": label}) for t, label in rows]
            (tmp_path / name).write_text("\n".join(lines))
        else:
            write(tmp_path / name, rows, delimiter="\t" if name.endswith("tsv") else ",")
    for other in ("train_and_test.csv", "labels.csv", "README.md", "contest.csv"):
        (tmp_path / other).write_text("not, to be read\n")
    splits = load(tmp_path)
    assert [split.texts[0] for split in splits] == ["0 text 0", "1 text 0", "2 text 0"]
    assert [len(split) for split in splits] == [40, 40, 40]


def test_missing_splits_come_from_the_training_rows(tmp_path):
    write(tmp_path / "train.csv")
    write(tmp_path / "test.csv", [("held out", "a")])
    splits = load(tmp_path, validation_fraction=0.25)
    assert [len(split) for split in splits] == [30, 10, 1]
    assert load(tmp_path, validation_fraction=0).validation is None
    (tmp_path / "test.csv").rename(tmp_path / "valid.csv")
    assert [len(split) for split in load(tmp_path, test_fraction=0.1)] == [36, 1, 4]


def test_files_named_for_single_splits(tmp_path):
    write(tmp_path / "english_train.csv")
    write(tmp_path / "french_train.csv", [("oui", "a"), ("non", "b")])
    write(tmp_path / "other.csv", [("else", "b")])
    with pytest.raises(TransformerError) as error:
        load(tmp_path)
    assert "both english_train.csv and french_train.csv may be the train split" in str(error.value)
    assert "train=french_train.csv" in str(error.value)
    splits = load(tmp_path, train="french_train.csv", test="other.csv", validation_fraction=0)
    assert splits.train.texts == ["oui", "non"] and splits.test.texts == ["else"]
    splits = load(train=tmp_path / "french_train.csv", test=tmp_path / "other.csv", validation_fraction=0)
    assert splits.train.texts == ["oui", "non"] and splits.test.texts == ["else"]
    assert len(load(tmp_path / "english_train.csv", test=tmp_path / "other.csv").test) == 1


def test_cut_splits_are_grouped_by_folded_text():
    rows = [(f"Text {i // 3}" if i % 3 else f"  tEXT {i // 3} ", "ab"[i % 2]) for i in range(120)]
    splits = load(([t for t, _ in rows], [label for _, label in rows]))
    sides = [{normalize_for_dedup(t) for t in split.texts} for split in splits]
    assert not sides[0] & sides[1] and not sides[0] & sides[2] and not sides[1] & sides[2]
    assert sum(map(len, splits)) == 120


def test_lists_pairs_and_splits_in_memory():
    pairs = [(f"a{i}", f"b{i}") for i in range(20)]
    splits = load((pairs, [i % 2 for i in range(20)]))
    assert splits.train.is_pair and splits.train.labels == ("0", "1")
    again = load(Split(pairs, ["x", "y"] * 10, "all"))
    assert again.train.name == "train" and len(again.test) == 4
    assert load(Splits(again.train, None, again.test), validation_fraction=0) == (again.train, None, again.test)


def test_numbers_without_a_header(tmp_path):
    rows = [(str(1 + i % 4), f"title {i}", f"story {i}") for i in range(40)]
    path = write(tmp_path / "f.csv", rows, header=None)
    splits = load(path, text_columns="2,3", label_column=1)
    assert sum(map(len, splits)) == 40 and splits.train.is_pair and splits.train.labels == tuple("1234")


def test_several_labels_by_delimiter_columns_and_lists(tmp_path):
    rows = [(f"t{i}", ["a|b", "b", "", " a | a"][i % 4]) for i in range(40)]
    targets = {"t0": ("a", "b"), "t1": ("b",), "t2": (), "t3": ("a",)}
    first = load(write(tmp_path / "f.csv", rows), label_delimiter="|")
    marks = [(t, "01"["a" in label], "01"["b" in label]) for t, label in rows]
    second = load(write(tmp_path / "g.csv", marks, ("text", "a", "b")), label_columns="a,b")
    lines = [json.dumps({"text": t, "label": targets[f"t{i % 4}"]}) for i, (t, _) in enumerate(rows)]
    (tmp_path / "h.jsonl").write_text("\n".join(lines))
    third = load(tmp_path / "h.jsonl")
    for splits in (first, second, third):
        assert splits.train.multi_label and splits.train.labels == ("a", "b")
        everything = {t: y for split in splits for t, y in zip(split.texts, split.targets, strict=True)}
        assert len(everything) == 40 and {k: everything[k] for k in targets} == targets


def test_json_file_with_all_splits(tmp_path):
    rows = {"train": ROWS, "val": ROWS[:2], "test": ROWS[:4], "oos_test": [("x", "oos")]}
    (tmp_path / "full.json").write_text(json.dumps(rows, indent=1))
    assert [len(split) for split in load(tmp_path / "full.json")] == [40, 2, 4]
    (tmp_path / "full.json").write_text(json.dumps(rows | {"dev": ROWS[:2]}))
    with pytest.raises(TransformerError, match="several of its keys mean the validation split"):
        load(tmp_path / "full.json")


def test_texts_stay_as_they_are_and_labels_are_stripped(tmp_path):
    rows = [('" a\nb, ""c"" "', " x "), ("", "y"), ("é", "x"), ("NULL", "y")]
    splits = load(write(tmp_path / "f.csv", rows), validation_fraction=0, test_fraction=0)
    assert splits.train.texts == [' a\nb, "c" ', "", "é", "NULL"] and splits.train.targets == list("xyxy")
    (tmp_path / "f.jsonl").write_text('{"text": null, "label": false}\n{"text": "\\ud800", "label": 1}\n')
    splits = load(tmp_path / "f.jsonl", validation_fraction=0, test_fraction=0)
    assert splits.train.texts == ["", "\ufffd"] and splits.train.targets == ["False", "1"]


@pytest.mark.parametrize(
    "name, data, message",
    [
        ("f.csv", "text,label\na,x\nb,\n", "f.csv:3: a row without a label, 'label' is empty"),
        ("f.csv", "text,label\na,x\nb, \n", "f.csv:3: a row without a label"),
        ("f.csv", "text,label\na,x\nb,x\n", "f.csv: training needs at least 2 classes; the train split has 1: x"),
        ("f.csv", "text,label\n", "f.csv has a header row but no rows"),
        ("f.csv", "", "f.csv is empty"),
        ("f.csv", "text,label\na\n", "f.csv:2: 1 field, but the first row has 2"),
        ("f.csv", "title,review,label\na,b,c\n", "name it with text_columns"),
        ("f.jsonl", '{"text": "a", "label": "x"}\n{"text": "b"}\n', "f.jsonl:2: a row without a label"),
        ("f.jsonl", '{"text": "a", "label": "x"}\n{"label": "b"}\n', "f.jsonl:2: no text, the row lacks 'text'"),
        ("f.jsonl", '{"text": ["a"], "label": "x"}\n', "f.jsonl:1: 'text' must be a string; got a list"),
        ("f.jsonl", '{"text": "a", "label": {"x": 1}}\n', "f.jsonl:1: 'label' must be a label; got {'x': '1'}"),
        ("f.xlsx", "x", "f.xlsx must end in one of .csv"),
        ("f.parquet", "x", "f.parquet cannot be read as Parquet"),
        ("f", "x", "got 'no extension'"),
    ],
)
def test_bad_files_give_one_line(tmp_path, name, data, message):
    (tmp_path / name).write_text(data)
    with pytest.raises(TransformerError) as error:
        load(tmp_path / name)
    assert message in str(error.value) and "\n" not in str(error.value)


def test_label_columns_hold_marks(tmp_path):
    path = write(tmp_path / "f.csv", [("t", "1", "yes")], ("text", "a", "b"))
    with pytest.raises(TransformerError, match="f.csv:2: label column 'b' must be 0 or 1; got 'yes'"):
        load(path, label_columns=["a", "b"])
    path = write(tmp_path / "f.csv", [("t", "1", "")], ("text", "a", "b"))
    with pytest.raises(TransformerError, match="f.csv:2: label column 'b' must be 0 or 1; it is empty"):
        load(path, label_columns=["a", "b"])


def test_a_label_that_training_never_saw(tmp_path):
    write(tmp_path / "train.csv")
    write(tmp_path / "test.csv", [("u", "a"), ("v", "c")])
    with pytest.raises(TransformerError) as error:
        load(tmp_path)
    assert str(error.value) == (
        f"{tmp_path / 'test.csv'}:3: label 'c' of the test split never occurs in train, which has a, b"
    )


def test_splits_must_be_of_one_kind():
    one = Split(["a", "b"], ["x", "y"])
    with pytest.raises(TransformerError, match="some splits have several labels a row"):
        load(Splits(one, None, Split(["c"], [("x",)], "test", multi_label=True)), validation_fraction=0)
    with pytest.raises(TransformerError, match="some splits hold pairs of texts"):
        load(Splits(one, None, Split([("c", "d")], ["x"], "test")), validation_fraction=0)


def test_the_embedded_sample_loads():
    splits = load("sample")
    assert len(splits.train.labels) >= 6 and sum(map(len, splits)) >= 600
    assert all(split.labels == splits.train.labels for split in splits)


def test_missing_files_suggest_near_ones(tmp_path):
    write(tmp_path / "tickets.csv")
    with pytest.raises(TransformerError, match=r"does not exist; did you mean 'tickets.csv'\?$"):
        load(tmp_path / "tickts.csv")
    with pytest.raises(TransformerError, match="does not exist, nor does its folder"):
        load(tmp_path / "nowhere" / "tickets.csv")
    with pytest.raises(TransformerError, match="has no file for the train split .* it has tickets.csv$"):
        load(tmp_path)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"test_fraction": 1.0}, "test_fraction must be at least 0 and below 1; got 1.0"),
        ({"validation_fraction": -0.1}, "validation_fraction must be at least 0 and below 1; got -0.1"),
        ({"validation_fraction": 0.5, "test_fraction": 0.5}, "validation_fraction + test_fraction must be below 1"),
        ({"label_delimiter": ""}, "label_delimiter must be at least one character"),
        ({"train": "x.csv"}, "train, validation and test go with files"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(TransformerError) as error:
        load((["a", "b"], ["x", "y"]), **options)
    assert message in str(error.value)


def test_bad_sources(tmp_path):
    with pytest.raises(TransformerError, match="^name the data: a file, a folder"):
        load()
    with pytest.raises(TransformerError, match=r"source must be \(texts, labels\)"):
        load((["a"], ["x"], ["b"]))
    path = write(tmp_path / "f.csv")
    with pytest.raises(TransformerError, match="source is the file .* and train is .*; pass one"):
        load(path, train=path)


@pytest.mark.parametrize("name", ["f.csv", "f.tsv", "f.jsonl"])
def test_two_columns_of_one_name_are_refused(tmp_path, name):
    if name == "f.jsonl":
        data, message = '{"text": "a", "text": "b", "label": "x"}\n', "f.jsonl:1: .*'text' is there twice"
    else:
        mark = {"f.csv": ",", "f.tsv": "\t"}[name]
        data = "\n".join(mark.join(row) for row in (["text", "label", "text"], ["a", "x", "b"], ["c", "y", "d"]))
        message = "columns must have different names; 'text' is that of columns 1 and 3"
    (tmp_path / name).write_text(data)
    with pytest.raises(TransformerError, match=message):
        load(tmp_path / name)


def test_columns_of_one_name_that_nobody_asks_for_are_read_over(tmp_path):
    rows = [["id", "text", "label", "id"], ["1", "a", "x", "2"], ["3", "c", "y", "4"]]
    (tmp_path / "f.csv").write_text("\n".join(map(",".join, rows)))
    options = {"validation_fraction": 0, "test_fraction": 0}
    assert load(tmp_path / "f.csv", **options).train.texts == ["a", "c"]
    with pytest.raises(TransformerError, match="different names; 'id' is that of columns 1 and 4"):
        load(tmp_path / "f.csv", text_columns="id", **options)
    rows[0] = ["text", "body", "label", "text"]
    (tmp_path / "f.csv").write_text("\n".join(map(",".join, rows)))
    named = load(tmp_path / "f.csv", text_columns="body", label_column="label", **options)
    assert named.train.texts == ["a", "c"]


@pytest.mark.parametrize("kind", [tuple, set, frozenset, np.array, list])
def test_cells_of_several_labels(kind):
    pandas = pytest.importorskip("pandas")
    labels = [["x"], ["x", "y"], ["y", "z"], ["z"]]
    frame = pandas.DataFrame({"text": list("abcd"), "label": [kind(row) for row in labels]})
    found = load(frame, validation_fraction=0, test_fraction=0).train
    assert found.multi_label and found.targets == [tuple(row) for row in labels]


@pytest.mark.parametrize(
    ("first", "cell", "message"),
    [
        ("x", {"a": 1}, "^DataFrame:2: 'label' must be a label; got {'a': 1}$"),
        (["x"], {"a": 1}, "^DataFrame:2: 'label' must be a label; got {'a': 1}$"),
        (["x"], [("b", "c")], r"^DataFrame:2: 'label' must be a label; got \('b', 'c'\)$"),
        ("x", float("inf"), "^DataFrame:2: a row without a label, 'label' must be a label; got inf$"),
    ],
)
def test_a_cell_that_is_no_label_is_shown(first, cell, message):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"text": list("abc"), "label": pandas.Series([first, cell, "y"], dtype=object)})
    with pytest.raises(TransformerError, match=message):
        load(frame)


def test_tables_in_memory():
    pandas, arrow = pytest.importorskip("pandas"), pytest.importorskip("pyarrow")
    rows = {"subject": list("abcdef"), "text": list("ghijkl"), "label": [1.0, 2.0] * 3}
    for table in (pandas.DataFrame(rows), arrow.table(rows)):
        found = load(table, validation_fraction=0, test_fraction=0).train
        assert found.texts == rows["text"] and found.targets == ["1", "2"] * 3
        assert found.columns["unused"] == ("subject",)
    frame = pandas.DataFrame(rows)
    assert load(frame, text_columns="subject", test_fraction=0, validation_fraction=0).train.texts == rows["subject"]
    several = frame.assign(label=[["x"], [], ["x", "y"], ["y"], ["x"], ["y"]])
    found = load(several, validation_fraction=0, test_fraction=0).train
    assert found.multi_label and found.targets[:3] == [("x",), (), ("x", "y")]
    frame.loc[2, "label"] = float("nan")
    with pytest.raises(TransformerError, match="^DataFrame:3: a row without a label, 'label' is empty$"):
        load(frame)
    with pytest.raises(TransformerError, match="^source must have rows; the DataFrame has none$"):
        load(frame.iloc[:0])
    with pytest.raises(TransformerError, match="the source is in memory"):
        load(frame, test="f.csv")


@pytest.mark.parametrize("source", [3, {"text": ["a"], "label": ["x"]}, b"f.csv"])
def test_what_is_no_source_is_named(source):
    with pytest.raises(TransformerError, match=f"^source must be a file, .*; got {type(source).__name__}$"):
        load(source)
