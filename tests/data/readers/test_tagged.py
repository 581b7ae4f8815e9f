"""Tagged sentences from files, folders, memory and the embedded sample."""

import json

import pytest

from tftransformer.data.readers.tagged import load_tagged, read_tagged
from tftransformer.data.tagged import TaggedSplit, TaggedSplits
from tftransformer.errors import TransformerError

CONLL = """-DOCSTART- -X- O O

Off RB B-ADVP O
to TO B-PP O
Rome NNP B-NP B-PLACE

# CD B-NP O
May NNP I-NP B-PERSON
"""


@pytest.fixture
def file(tmp_path):
    def write(text, name="train.conll"):
        path = tmp_path / name
        path.write_bytes(text.encode("utf-8"))
        return path

    return write


def lines(*rows):
    return "".join(json.dumps(row) + "\n" for row in rows)


def test_columns_are_chosen_by_number_from_either_end(file):
    split = read_tagged(file(CONLL))
    assert split.texts == ["Off to Rome", "# May"] and split.rows == [3, 7]
    assert split.tags == [("O", "O", "B-PLACE"), ("O", "B-PERSON")]
    assert split.where(1).endswith("train.conll:7")
    assert read_tagged(file(CONLL), tag_column=-3).tags == read_tagged(file(CONLL), tag_column=2).tags
    assert read_tagged(file(CONLL), word_column=2).words(0) == ["RB", "TO", "NNP"]
    assert read_tagged(file(CONLL), comments=True).texts == ["Off to Rome", "May"]


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_tabs_byte_order_marks_line_ends_and_odd_blanks(file, end):
    text = end.join(["\ufeffNew York\tB-PLACE", "a\u00a0b\tO", "", " ", "May\tO"])
    split = read_tagged(file(text))
    assert [split.words(i) for i in range(2)] == [["New York", "a\u00a0b"], ["May"]]
    assert split.spans[0] == [(0, 8), (9, 12)]


def test_conllu_has_columns_of_its_own(file):
    rows = [
        "# text = im Haus",
        "1-2\tim\t_\t_",
        "1\tin\tin\tADP",
        "2\tdem\tder\tDET",
        "3\tHaus\tHaus\tNOUN",
        "3.1\tx\tx\tX",
    ]
    split = read_tagged(file("\n".join(rows), "de.conllu"))
    assert split.texts == ["in dem Haus"] and split.tags == [("ADP", "DET", "NOUN")]


def test_spans_become_tags_and_part_words_where_they_must(file):
    rows = [
        {"text": "Meet Ana-Maria in Rome-West.", "entities": [{"start": 18, "end": 22, "label": "PLACE"}]},
        {"text": "Romebound  Ana Lee", "entities": [[11, 18, "PERSON"], [0, 4, "PLACE"]]},
        {"text": "東京へ", "entities": [[0, 2, "PLACE"]]},
        {"text": "", "entities": []},
    ]
    split = read_tagged(file(lines(*rows), "a.jsonl"))
    assert split.words(0) == ["Meet", "Ana", "-", "Maria", "in", "Rome", "-", "West", "."]
    assert split.tags[0] == ("O",) * 5 + ("B-PLACE",) + ("O",) * 3
    assert split.words(1) == ["Rome", "bound", "Ana", "Lee"]
    assert split.tags[1] == ("B-PLACE", "O", "B-PERSON", "I-PERSON")
    assert split.tags[2] == ("B-PLACE", "I-PLACE", "O") and split.words(3) == []
    assert split.texts == [row["text"] for row in rows]


def test_words_and_tags_of_jsonl_and_their_columns(file):
    path = file(lines({"tokens": ["to", "Rome"], "tags": ["O", "X"], "pos": ["P", "N"]}), "a.jsonl")
    assert read_tagged(path).tags == [("O", "X")]
    assert read_tagged(path, tag_column="pos").tags == [("P", "N")]


def test_folders_by_the_words_in_names(tmp_path):
    for name, word in (
        ("eng.train", "a"),
        ("eng.testa", "b"),
        ("eng.testb", "c"),
        ("README.train.md", "d"),
        ("x", "e"),
    ):
        (tmp_path / name).write_text(f"{word} O\n", "utf-8")
    splits = load_tagged(tmp_path)
    assert [split.texts for split in splits] == [["a"], ["b"], ["c"]]
    assert [split.name for split in splits] == ["train", "validation", "test"]
    assert load_tagged(tmp_path, test="x").test.texts == ["e"]
    assert load_tagged(train=tmp_path / "x", validation_fraction=0, test_fraction=0)[1:] == (None, None)
    (tmp_path / "dev.txt").write_text("f O\n", "utf-8")
    with pytest.raises(TransformerError, match="both dev.txt and eng.testa may be the validation split"):
        load_tagged(tmp_path)


def test_missing_splits_are_cut_off_the_training_sentences():
    words = [[f"w{i}", "x"] for i in range(50)]
    tags = [["O", "B-X" if i % 2 else "B-Y"] for i in range(50)]
    splits = load_tagged((words, tags), seed=3)
    assert [len(split) for split in splits] == [35, 5, 10]
    assert splits == load_tagged((words, tags), seed=3) != load_tagged((words, tags), seed=4)
    assert sorted(text for split in splits for text in split.texts) == sorted(map(" ".join, words))
    assert splits.train.labels == ("B-X", "B-Y", "O")
    assert load_tagged(splits) == splits and isinstance(splits, TaggedSplits)
    assert len(load_tagged(splits.train).train) < 35


def test_the_sample_is_well_formed_and_cannot_be_looked_up():
    splits = load_tagged("sample")
    assert len(splits.train) >= 200 and len(splits.validation) == 60 and len(splits.test) == 80
    kinds = {f"{prefix}-{name}" for prefix in "BI" for name in ("PERSON", "PLACE", "ORGANIZATION", "DATE")}
    assert set(splits.train.labels) == {"O", *kinds}
    types = {}
    for split in splits:
        for row, tags in enumerate(split.tags):
            for before, tag in zip(("O", *tags), tags, strict=False):
                assert tag[0] != "I" or before[2:] == tag[2:], split.where(row)
            for word, tag in zip(split.words(row), tags, strict=True):
                types.setdefault(word.lower(), set()).add(tag[2:])
    assert sum(len(found - {""}) > 1 for found in types.values()) > 30
    assert len({text for split in splits for text in split.texts}) == sum(map(len, splits))


def test_sentences_of_tensorflow_datasets(tmp_path):
    tf = pytest.importorskip("tensorflow")
    tfds = pytest.importorskip("tensorflow_datasets")
    names = tfds.features.ClassLabel(names=["O", "B-PLACE"])
    data = {"tokens": tf.ragged.constant([["to", "Rome"], ["hm"]]), "tags": tf.ragged.constant([[0, 1], [0]], tf.int64)}
    features = {"tokens": tfds.features.Sequence(tfds.features.Text()), "tags": tfds.features.Sequence(names)}
    rows = tf.data.Dataset.from_tensor_slices(data).map(lambda row: {k: v for k, v in row.items()})
    tfds.dataset_builders.store_as_tfds_dataset(
        name="kept_tags",
        version="1.0.0",
        features=tfds.features.FeaturesDict(features),
        split_datasets={"train": rows, "test": rows},
        data_dir=tmp_path,
        disable_shuffling=True,
    )
    splits = load_tagged("tfds:kept_tags", data_dir=tmp_path, validation_fraction=0)
    assert splits.train.texts == ["to Rome", "hm"] and splits.train.tags == [("O", "B-PLACE"), ("O",)]


TEXT = {"text": "to Rome"}


@pytest.mark.parametrize(
    ("name", "text", "options", "message"),
    [
        ("a.conll", "a O\nb\n", {}, ":2: the number of columns must be 2, as the first line has; got 1"),
        ("a.conll", "a\n", {}, ":1: the number of columns must be at least 2, a word and its tag; got 1"),
        ("a.conll", "a O\n", {"tag_column": 3}, "tag_column must be one of the 2 columns of .*:1; got 3"),
        ("a.conll", "a O\n", {"word_column": 0}, "word_column must be a number from 1, or from the end with -1"),
        ("a.conll", "a O\n", {"word_column": "word"}, "word_column must be a number .*got 'word'"),
        ("a.conll", "a\t\tO\n", {"tag_column": 2}, ":1: column 2 must not be empty"),
        ("a.conll", "-DOCSTART- O\n", {}, "must hold sentences of a line a word; it has none"),
        ("a.jsonl", lines({"tokens": ["a"], "tags": []}), {}, ":1: tags must be one for each of the 1 words; got 0"),
        ("a.jsonl", lines({"tokens": "a", "tags": []}), {}, ":1: words and tags must be lists of strings"),
        ("a.jsonl", lines({"tokens": ["a"], "tags": ["O"]}), {"tag_column": "tag"}, "tag_column must be one .*'tags'"),
        ("a.jsonl", lines({"sentence": "a"}), {}, "must have the columns tokens and tags, or text and entities; it has sentence"),
        ("a.jsonl", lines({**TEXT, "spans": [[0, 4, "X"], [3, 7, "Y"]]}), {}, ":1: spans must not overlap; got"),
        ("a.jsonl", lines({**TEXT, "spans": [[3, 8, "X"]]}), {}, ":1: spans must be inside the 7 characters"),
        ("a.jsonl", lines({**TEXT, "spans": [[2, 3, "X"]]}), {}, ":1: spans must hold a word"),
        ("a.jsonl", lines({**TEXT, "spans": [[0, 2]]}), {}, ":1: a span must be like"),
        ("a.jsonl", lines({**TEXT, "spans": [{"start": 0, "end": 2}]}), {}, ":1: a span must be like"),
        ("a.jsonl", lines({**TEXT, "spans": []}, TEXT), {}, ":2: a row must be a text and a list of spans.*got nothing"),
    ],
)  # fmt: skip
def test_mistakes_in_files_are_told_with_their_line(file, name, text, options, message):
    with pytest.raises(TransformerError, match=message):
        read_tagged(file(text, name), **options)


@pytest.mark.parametrize(
    ("source", "options", "message"),
    [
        (None, {}, "name the data"),
        (3, {}, "source must be a file, a folder"),
        (([["a"]], [["O"]]), {"train": "x"}, "train, validation and test go with files"),
        (([["a"]],), {}, "source must be \\(words, tags\\)"),
        ([[["a"]], None], {}, "must have tags to train on"),
        ("sample", {"test_fraction": 1}, "test_fraction must be at least 0 and below 1"),
        ("sample", {"test_fraction": 0.5, "validation_fraction": 0.5}, "must be below 1"),
        (".", {}, "must have a file for the train split"),
        ("a.conll", {"train": "a.conll"}, "source is the file"),
    ],
)
def test_mistakes_in_arguments_are_told(source, options, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.conll").write_text("a O\n", "utf-8")
    with pytest.raises(TransformerError, match=message):
        load_tagged(source, **options)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: TaggedSplit(["ab"], []), "spans must be as many as texts, 1; got 0"),
        (lambda: TaggedSplit(["ab"], [[(0, 3)]]), "spans must be in order.*2 characters.*train row 0 has \\(0, 3\\)"),
        (lambda: TaggedSplit(["ab"], [[(1, 2), (0, 1)]]), "spans must be in order"),
        (
            lambda: TaggedSplit(["ab"], [[(0, 2)]], [()]),
            "tags must be one for each of the 1 words of train row 0; got 0",
        ),
        (lambda: TaggedSplit.from_words(["ab"]), "words must be lists of strings"),
        (lambda: TaggedSplit.from_words([["a", ""]]), "words must be lists of strings"),
    ],
)
def test_a_split_checks_itself(make, message):
    with pytest.raises(TransformerError, match=message):
        make()


def test_rows_are_taken_with_all_that_is_theirs():
    split = TaggedSplit.from_words([["a"], ["b", "c"]], [["X"], ["Y", "Z"]], rows=[1, 3], source="file")
    taken = split.take([1])
    assert (taken.texts, taken.tags, taken.words(0), taken.where(0)) == (["b c"], [("Y", "Z")], ["b", "c"], "file:3")
    assert repr(split) == "TaggedSplit('train', 2 sentences, 3 tags)" and len(split) == 2
