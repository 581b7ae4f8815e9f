import numpy as np
import pytest

from tftransformer.data.records import as_records, as_split, encode_targets, is_batched
from tftransformer.data.split import Split
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
    records = as_records(x)
    assert records.first == TEXTS and records.second is None and len(records) == 3
    assert all(type(t) is str for t in records.first)


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
    records = as_records(x)
    assert list(zip(records.first, records.second, strict=True)) == PAIRS


def test_what_holds_no_texts_is_named():
    with pytest.raises(TransformerError, match="^x must be texts: .*; got 3$"):
        as_records(3)


def test_datasets_batched_or_not():
    tf = pytest.importorskip("tensorflow")
    rows = (TEXTS, ["x", "y", "x"], [1.0, 0.5, 2.0])
    dataset = tf.data.Dataset.from_tensor_slices(rows)
    assert not is_batched(dataset) and is_batched(dataset.batch(2))
    for form in (dataset, dataset.batch(2)):
        records = as_records(form)
        assert records.first == TEXTS and records.weights.tolist() == [1.0, 0.5, 2.0]
        assert encode_targets(records.targets, ["x", "y"]).tolist() == [0, 1, 0]
    for x in (TEXTS, {"text": TEXTS}):
        assert as_records(tf.data.Dataset.from_tensor_slices(x).batch(2)).first == TEXTS
    pairs = tf.data.Dataset.from_tensor_slices((([a for a, _ in PAIRS], [b for _, b in PAIRS]), [0, 1, 0]))
    assert not is_batched(pairs) and as_records(pairs).second == ["b", "", "d"]
    marks = tf.data.Dataset.from_tensor_slices((TEXTS, np.eye(3, 2)))
    assert as_records(marks).targets.shape == (3, 2)
    assert as_records(tf.constant(TEXTS)).first == TEXTS
    with pytest.raises(TransformerError, match="it repeats without end"):
        as_records(dataset.repeat())
    with pytest.raises(TransformerError, match="y and sample_weight must be None with a tf.data.Dataset"):
        as_records(dataset, [0, 1, 0])


def test_take_and_one_text():
    assert as_records("a").first == ["a"]
    part = as_records(PAIRS, np.array([5, 6, 7]), [1, 2, 3]).take([2, 0])
    assert part.first == ["c", "a"] and part.second == ["d", "b"]
    assert part.targets.tolist() == [7, 5] and part.weights.tolist() == [3.0, 1.0]
    assert as_records([]).first == [] and as_records(["\ud800"]).first == ["\ufffd"]
    assert as_records([b"\xff"]).first == ["\ufffd"]


@pytest.mark.parametrize(
    "args, message",
    [
        ((TEXTS, [0, 1]), "y must have as many labels as there are texts, 3; got 2"),
        ((TEXTS, [0, 1, 0], [1.0]), "sample_weight must have as many numbers as there are texts, 3; got 1"),
        (([1, 2],), "each text must be a string; got int in row 0"),
        (([None],), "each text must be a string; got NoneType in row 0"),
        (((["a"], ["b", "c"]),), "both sides of the pairs must have equally many texts; got 1 and 2"),
        (({"txt": ["a"]},), "x must have the keys text and, for pairs, text_pair; got txt"),
        ((Split(TEXTS), [0, 1, 0]), "y must be None with a Split"),
    ],
)
def test_bad_input(args, message):
    with pytest.raises(TransformerError) as error:
        as_records(*args)
    assert message in str(error.value)


def test_split_from_lists():
    assert as_split(TEXTS, np.array([2, 0, 2])).targets == ["2", "0", "2"]
    assert as_split(TEXTS, [1.0, 2.0, 1.0]).targets == ["1", "2", "1"]
    assert as_split(PAIRS, ["x", "y", " x"]).targets == ["x", "y", "x"]
    multi = as_split(TEXTS, [["b", "a"], {"b", "a"}, ()])
    assert multi.multi_label and multi.targets == [("b", "a"), ("a", "b"), ()]
    assert as_split(TEXTS, None).targets is None
    for nothing in (None, " ", float("nan")):
        with pytest.raises(TransformerError, match=r"row 1 \(from 0\) has no label"):
            as_split(TEXTS, ["x", nothing, "y"])


def test_names_and_ids():
    assert encode_targets(["b", b"a"], ["a", "b"]).tolist() == [1, 0]
    assert encode_targets(np.array([1, 0]), ["a", "b"]).dtype == "int32"
    assert encode_targets([1, True, 0.0], ["a", "b"]).tolist() == [1, 1, 0]
    # Integer names are names, so that the same data mean the same in a file and in a list.
    assert encode_targets([1, 5], ["1", "5"]).tolist() == [0, 1]
    assert encode_targets(["1", "5"], ["1", "5"]).tolist() == [0, 1]
    assert encode_targets(np.eye(2), ["a", "b"]).tolist() == [0, 1]
    assert encode_targets(np.array([[1], [0]]), ["a", "b"]).tolist() == [1, 0]


def test_several_labels():
    assert encode_targets([("b",), ()], ["a", "b"], True).tolist() == [[0, 1], [0, 0]]
    assert encode_targets([[0, 1], []], ["a", "b"], True).tolist() == [[1, 1], [0, 0]]
    matrix = encode_targets(np.array([[1, 0], [1, 1]]), ["a", "b"], True)
    assert matrix.tolist() == [[1, 0], [1, 1]] and matrix.dtype == "float32"


@pytest.mark.parametrize(
    "targets, message",
    [
        (["aa"], "y must hold labels among aaa, b; got 'aa' in row 0; did you mean 'aaa'?"),
        ([0, 2], "y must hold label ids from 0 to 1 or label names; got 2 in row 1"),
        ([-1], "y must hold label ids from 0 to 1"),
        ([0.5], "y must hold label ids from 0 to 1"),
        (np.zeros((1, 3)), "y must have one column for each of the 2 labels; got 3"),
        ([None], "row 0 (from 0) has no label"),
    ],
)
def test_bad_targets(targets, message):
    with pytest.raises(TransformerError) as error:
        encode_targets(targets, ["aaa", "b"])
    assert message in str(error.value)
