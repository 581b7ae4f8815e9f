import numpy as np
import pytest

from tftransformer.data.labels import encode_targets
from tftransformer.data.split import Split
from tftransformer.data.texts import as_split, as_texts, is_batched
from tftransformer.errors import TransformerError

TEXTS = ["a", "é", ""]
PAIRS = [("a", "b"), ("é", ""), ("c", "d")]


@pytest.mark.parametrize(
    "x",
    [
        Split(TEXTS),
        TEXTS,
        np.array(TEXTS),
        np.array(TEXTS, object),
        np.array([t.encode() for t in TEXTS]),
        [t.encode() for t in TEXTS],
        {"text": TEXTS},
        tuple(TEXTS),
    ],
    ids=lambda x: type(x).__name__,
)
def test_texts_in_any_form(x):
    texts = as_texts(x)
    assert texts.first == TEXTS and texts.second is None and len(texts) == 3
    assert all(type(t) is str for t in texts.first)


@pytest.mark.parametrize(
    "x",
    [
        Split(PAIRS),
        PAIRS,
        [list(pair) for pair in PAIRS],
        np.array(PAIRS),
        np.array(PAIRS, object),
        ([a for a, _ in PAIRS], [b for _, b in PAIRS]),
        (np.array([a for a, _ in PAIRS]), np.array([b for _, b in PAIRS])),
        {"text": [a for a, _ in PAIRS], "text_pair": [b for _, b in PAIRS]},
    ],
    ids=lambda x: type(x).__name__,
)
def test_pairs_in_any_form(x):
    texts = as_texts(x)
    assert list(zip(texts.first, texts.second, strict=True)) == PAIRS


def test_what_holds_no_texts_is_named():
    with pytest.raises(TransformerError, match="^x must be texts: .*; got 3$"):
        as_texts(3)


def test_datasets_batched_or_not():
    tf = pytest.importorskip("tensorflow")
    rows = (TEXTS, ["x", "y", "x"], [1.0, 0.5, 2.0])
    dataset = tf.data.Dataset.from_tensor_slices(rows)
    assert not is_batched(dataset) and is_batched(dataset.batch(2))
    for form in (dataset, dataset.batch(2)):
        texts = as_texts(form)
        assert texts.first == TEXTS and texts.weights.tolist() == [1.0, 0.5, 2.0]
        assert encode_targets(texts.targets, ["x", "y"]).tolist() == [0, 1, 0]
    for x in (TEXTS, {"text": TEXTS}):
        assert as_texts(tf.data.Dataset.from_tensor_slices(x).batch(2)).first == TEXTS
    pairs = tf.data.Dataset.from_tensor_slices((([a for a, _ in PAIRS], [b for _, b in PAIRS]), [0, 1, 0]))
    assert not is_batched(pairs) and as_texts(pairs).second == ["b", "", "d"]
    marks = tf.data.Dataset.from_tensor_slices((TEXTS, np.eye(3, 2)))
    assert as_texts(marks).targets.shape == (3, 2)
    assert as_texts(tf.constant(TEXTS)).first == TEXTS
    with pytest.raises(TransformerError, match="it repeats without end"):
        as_texts(dataset.repeat())
    with pytest.raises(TransformerError, match="y and sample_weight must be None with a tf.data.Dataset"):
        as_texts(dataset, [0, 1, 0])


def test_take_and_one_text():
    assert as_texts("a").first == ["a"]
    part = as_texts(PAIRS, np.array([5, 6, 7]), [1, 2, 3]).take([2, 0])
    assert part.first == ["c", "a"] and part.second == ["d", "b"]
    assert part.targets.tolist() == [7, 5] and part.weights.tolist() == [3.0, 1.0]
    assert as_texts([]).first == [] and as_texts(["\ud800"]).first == ["\ufffd"]
    assert as_texts([b"\xff"]).first == ["\ufffd"]


@pytest.mark.parametrize(
    "args, message",
    [
        ((TEXTS, [0, 1]), "y must have as many labels as there are texts, 3; got 2"),
        ((TEXTS, [0, 1, 0], [1.0]), "sample_weight must have as many numbers as there are texts, 3; got 1"),
        (([1, 2],), "each text must be a string; got int in row 0"),
        (([None],), "each text must be a string; got NoneType in row 0"),
        (((["a"], ["b", "c"]),), "both sides of the pairs must have equally many texts; got 1 and 2"),
        (({"text": ["a"], "id": [1]},), "x must have the keys text and, for pairs, text_pair; got text, id"),
        (({"txt": ["a"]},), "x must have the keys text and, for pairs, text_pair; got txt"),
        ((Split(TEXTS), [0, 1, 0]), "y must be None with a Split"),
    ],
)
def test_bad_input(args, message):
    with pytest.raises(TransformerError) as error:
        as_texts(*args)
    assert message in str(error.value)


def test_split_from_lists():
    assert as_split(TEXTS, np.array([2, 0, 2])).targets == ["2", "0", "2"]
    assert as_split(TEXTS, [1.0, 2.0, 1.0]).targets == ["1", "2", "1"]
    assert as_split(PAIRS, ["x", "y", " x"]).targets == ["x", "y", "x"]
    multi = as_split(TEXTS, [["b", "a"], {"b", "a"}, ()])
    assert multi.multi_label and multi.targets == [("b", "a"), ("a", "b"), ()]
    listed = np.empty(3, object)
    listed[:] = [["b", "a"], [], ["a"]]
    assert as_split(TEXTS, listed).targets == [("b", "a"), (), ("a",)]
    assert as_split(TEXTS, np.array(["b", "a", "b"], object)).targets == ["b", "a", "b"]
    assert as_split(TEXTS, np.array([["b"], ["a"], ["b"]])).targets == ["b", "a", "b"]
    assert as_split(TEXTS, None).targets is None
    for nothing in (None, " ", float("nan")):
        with pytest.raises(TransformerError, match=r"row 1 \(from 0\) has no label"):
            as_split(TEXTS, ["x", nothing, "y"])


PD = "pandas"
ARROW = "pyarrow"


def frames(rows):
    """Columns and tables of whatever libraries are installed."""
    pandas, arrow = pytest.importorskip(PD), pytest.importorskip(ARROW)
    return pandas.DataFrame(rows), arrow.table(rows)


def test_columns_of_other_libraries_are_texts():
    frame, table = frames({"text": TEXTS, "subject": TEXTS[::-1]})
    forms = [
        frame, frame[["text"]], frame["text"], frame["text"].astype(object), frame["text"].astype("category"),
        frame[["subject"]].rename(columns={"subject": "body"}).iloc[::-1], frame["text"].array, frame[["text"]].to_numpy(),
        table, table["text"], table["text"].combine_chunks(), table.select(["text"]), {"text": frame["text"]},
    ]  # fmt: skip
    for form in forms:
        texts = as_texts(form)
        assert texts.first == TEXTS and texts.second is None
    pair_frame, pair_table = frames({"text": [a for a, _ in PAIRS], "text_pair": [b for _, b in PAIRS]})
    columns = (pair_frame["text"], pair_frame["text_pair"])
    for form in (pair_frame, pair_table, columns, pair_frame.to_numpy()):
        texts = as_texts(form)
        assert list(zip(texts.first, texts.second, strict=True)) == PAIRS


def test_labels_in_columns_of_other_libraries():
    frame, table = frames({"y": ["b", "a", "b"], "z": [1, 0, 1]})
    for y in (frame["y"], frame[["y"]], table["y"], table.select(["y"]), frame["z"], table["z"]):
        assert encode_targets(as_texts(TEXTS, y).targets, ["a", "b"]).tolist() == [1, 0, 1]
    with pytest.raises(TransformerError, match="^y must be one column; got a DataFrame of y, z$"):
        as_texts(TEXTS, frame)
    with pytest.raises(TransformerError, match="^a table must have columns of different names; got 'y' twice"):
        as_texts(frame[["y", "y"]])


def test_a_table_of_which_no_column_is_the_text_is_refused_by_name():
    frame, table = frames({"question": TEXTS, "passage": TEXTS})
    for form in (frame, table):
        with pytest.raises(TransformerError, match="^x must be a table with the column text .*question, passage"):
            as_texts(form)
    gap = frames({"text": ["a", None, "b"]})[0]
    with pytest.raises(TransformerError, match=r"^each text must be a string; got \w+ in row 1"):
        as_texts(gap)


def test_rows_in_a_tuple_are_rows_however_many():
    for count in (1, 2, 3):
        texts = as_texts(tuple(PAIRS[:count]))
        assert list(zip(texts.first, texts.second, strict=True)) == PAIRS[:count]
    assert as_texts((["a", "b"], ["c", "d"])).second == ["c", "d"]
    with pytest.raises(TransformerError, match="each text must be a string; got tuple in row 0"):
        as_texts((("a", "b", "c"), ("d", "e", "f")))


@pytest.mark.parametrize("y", ["abc", b"ab", {"a": 0, "b": 1, "c": 2}, 3])
def test_what_holds_no_labels_is_named(y):
    with pytest.raises(TransformerError, match="^y must be labels in a list, an array or a column; got "):
        as_texts(TEXTS, y)


def test_a_distributed_dataset_is_refused():
    tf = pytest.importorskip("tensorflow")
    rows = tf.data.Dataset.from_tensor_slices((TEXTS, [0, 1, 0])).batch(3)
    distributed = tf.distribute.MirroredStrategy(["CPU:0"]).experimental_distribute_dataset(rows)
    with pytest.raises(TransformerError, match="^x must be a tf.data.Dataset, not distributed yet") as caught:
        as_texts(distributed)
    assert "\n" not in str(caught.value)
