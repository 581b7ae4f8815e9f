import pytest

from tftransformer.data.readers.columns import Table, as_list, choose
from tftransformer.errors import TransformerError


def chosen(header, *rows, text=None, label=None, labels=None):
    rows = [header, *(rows or [["t"] * (len(header) - 1) + ["l"]])]
    table = Table("f.csv", None, [list(row) for row in rows], list(range(1, len(rows) + 1)))
    table, columns = choose(table, as_list(text), as_list(label), as_list(labels))
    names = [table.names[i] for i in columns.text]
    marked = [table.names[i] for i in columns.labels]
    return names, None if columns.label is None else table.names[columns.label], marked, len(table.rows)


@pytest.mark.parametrize(
    "header, texts, label",
    [
        (["text", "label"], ["text"], "label"),
        (["sentence", "label"], ["sentence"], "label"),
        (["condition_label", "medical_abstract"], ["medical_abstract"], "condition_label"),
        (["Review Text", "Class"], ["Review Text"], "Class"),
        (["title", "text", "topic"], ["text"], "topic"),
        (["label", "text_a"], ["text_a"], "label"),
        (["index", "sentence1", "sentence2", "label"], ["sentence1", "sentence2"], "label"),
        (["premise", "hypothesis", "gold_label"], ["premise", "hypothesis"], "gold_label"),
        (["index", "question", "sentence", "label"], ["question", "sentence"], "label"),
        (["Quality", "#1 ID", "#2 ID", "#1 String", "#2 String"], ["#1 String", "#2 String"], "Quality"),
        (["utterance", "department"], ["utterance"], "department"),
        (["words", "intent"], ["words"], "intent"),
        (["foo", "label"], ["foo"], "label"),
    ],
)
def test_usual_names_are_found(header, texts, label):
    assert chosen(header) == (texts, label, [], 1)


def test_named_columns_win():
    assert chosen(["text", "label", "other"], text="other")[0] == ["other"]
    assert chosen(["text", "label", "other"], label="other")[1] == "other"
    assert chosen(["A Text", "label"], text="a_text")[0] == ["A Text"]
    assert chosen(["a", "b", "c"], text="a,b", label="c")[:2] == (["a", "b"], "c")
    assert chosen(["a", "b", "c"], text=["a", "b"])[1] == "c"
    assert chosen(["text", "toxic", "rude"], labels="toxic,rude")[:3] == (["text"], None, ["toxic", "rude"])
    assert chosen(["comment_text", "toxic"], labels="toxic")[0] == ["comment_text"]


def test_numbers_name_columns_of_files_without_a_header():
    rows = [["3", "A title", "a story"], ["2", "Another", "more"], ["3", "Third", "even more"]]
    assert chosen(*rows, text="2,3", label="1") == (["2", "3"], "1", [], 3)
    assert chosen(*rows, text=[2], label=1) == (["2"], "1", [], 3)
    assert chosen(["good", "pos"], ["bad", "neg"], text="1", label="2")[3] == 2
    assert chosen(["good", "pos"], ["bad", "neg"], text="1")[1] == "2"


def test_numbers_with_a_header_do_not_make_it_a_row():
    assert chosen(["foo", "label"], ["a", "x"], ["b", "y"], text="1", label="2")[3] == 2
    assert chosen(["foo", "stars"], ["a", "1"], ["b", "5"], text="1", label="2")[3] == 2
    assert chosen(["foo", "bar", "2"], text="2", label="bar")[0] == ["2"]
    assert chosen(["x", "foo", "label"], text="2", label="label")[0] == ["foo"]


@pytest.mark.parametrize(
    "header, options, message",
    [
        (["label", "title", "description"], {}, "several columns may hold the text (title, description)"),
        (["text", "class", "topic"], {}, "several columns may hold the label (class, topic)"),
        (["3", "Wall St. Bears Claw Back Into the Black", "y"], {}, "no column looks like a text"),
        (["text", "a", "b"], {}, "no column looks like a label among text, a, b; name it with label_column"),
        (["text", "label"], {"text": "txt"}, "no column 'txt', it has text, label; did you mean 'text'?"),
        (["text", "label"], {"label": "lable"}, "label_column: f.csv has no column 'lable'"),
        (["text", "label"], {"text": "3"}, "text_columns: f.csv has no column '3'"),
        (
            ["a", "a", "label"],
            {"text": "a"},
            "f.csv: columns must have different names; 'a' is that of columns 1 and 2",
        ),
        (["Text", "text", "label"], {}, "several columns may hold the text (Text, text)"),
        (["Sentence1", "sentence1", "sentence2", "label"], {}, "several columns may hold the text (Sentence1"),
        (["text", "Label", "label"], {}, "several columns may hold the label (Label, label)"),
        (["a", "b", "c", "label"], {"text": "a,b,c"}, "text_columns must name one column or two; got a, b, c"),
        (["a", "b", "c"], {"label": "a,b"}, "label_column must name one column; got a, b"),
        (["a", "b", "c"], {"label": "a", "labels": "b"}, "label_column and label_columns exclude each other"),
        (["text", "label"], {"text": "label", "label": "label"}, "each column can be used once"),
    ],
)
def test_errors_list_the_columns(header, options, message):
    with pytest.raises(TransformerError) as error:
        chosen(header, **options)
    assert message in str(error.value) and "\n" not in str(error.value)
