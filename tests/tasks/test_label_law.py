"""The same labels are the same ids in whatever form they come: lists, arrays, columns, datasets, files, splits."""

import json

import numpy as np
import pytest
import tensorflow as tf

from tftransformer.data import Split, load
from tftransformer.data.stream_labels import plain_refusals
from tftransformer.errors import TransformerError
from tftransformer.tasks import DocumentClassifier, MultiTaskClassifier, TextClassifier

TEXTS = ["good film", "bad plot", "a slow story", "great music", "dull", "bright and quick"]
# Classes, values, and the ids that they mean.
CASES = {
    "names": (["spam", "ham"], ["ham", "spam", "ham", "ham", "spam", "spam"], [1, 0, 1, 1, 0, 0]),
    "ids": (["spam", "ham"], [1, 0, 1, 1, 0, 0], [1, 0, 1, 1, 0, 0]),
    "zero and one": (["0", "1"], [1, 0, 1, 1, 0, 0], [1, 0, 1, 1, 0, 0]),
    "one and zero": (["1", "0"], [1, 0, 1, 1, 0, 0], [0, 1, 0, 0, 1, 1]),
    "ratings": ([1, 2, 3], [1, 3, 2, 1, 2, 3], [0, 2, 1, 0, 1, 2]),
    "truth": ([True, False], [True, False, True, True, False, False], [0, 1, 0, 0, 1, 1]),
    "truth in small letters": (["true", "false"], [True, False, True, True, False, False], [0, 1, 0, 0, 1, 1]),
    "truth of ids": (["no", "yes"], [True, False, True, True, False, False], [1, 0, 1, 1, 0, 0]),
    "decimals": (["2.0", "1.0"], [1.0, 2.0, 1.0, 1.0, 2.0, 2.0], [1, 0, 1, 1, 0, 0]),
    "fractions": ([0.5, 0.1, 10], [0.1, 0.5, 10.0, 0.1, 0.5, 10.0], [1, 0, 2, 1, 0, 2]),
}


def dataset_of(y):
    return tf.data.Dataset.from_tensor_slices((TEXTS, y))


def series(y, **options):
    return pytest.importorskip("pandas").Series(y, **options)


def arrow(y):
    return pytest.importorskip("pyarrow").array(y)


def narrow(y):
    y = np.array(y)
    return y.astype({"i": "uint8", "f": "float32"}.get(y.dtype.kind, y.dtype))


def csv_file(y, folder):
    path = folder / "rows.csv"
    path.write_text("".join(f"{t},{v}\n" for t, v in zip(["text", *TEXTS], ["label", *y])), "utf-8")
    return path


def jsonl_file(y, folder):
    path = folder / "rows.jsonl"
    rows = [json.dumps({"text": t, "label": v}) for t, v in zip(TEXTS, y)]
    path.write_text("\n".join(rows), "utf-8")
    return path


def from_file(path):
    return load(path, validation_fraction=0, test_fraction=0).train


FORMS = {
    "list": lambda y, _: (TEXTS, y),
    "tuple": lambda y, _: (TEXTS, tuple(y)),
    "array": lambda y, _: (TEXTS, np.array(y)),
    "narrow array": lambda y, _: (TEXTS, narrow(y)),
    "column array": lambda y, _: (TEXTS, narrow(y)[:, None]),
    "objects": lambda y, _: (TEXTS, np.array(y, object)),
    "strings": lambda y, _: (TEXTS, [f" {v}" for v in y]),
    "array of strings": lambda y, _: (TEXTS, np.array([str(v) for v in y])),
    "tensor": lambda y, _: (TEXTS, tf.constant(y)),
    "series": lambda y, _: (TEXTS, series(y)),
    "series of objects": lambda y, _: (TEXTS, series(y, dtype="object")),
    "pyarrow": lambda y, _: (TEXTS, arrow(y)),
    "split": lambda y, _: (Split(TEXTS, y), None),
    "dataset": lambda y, _: (dataset_of(y), None),
    "dataset in batches": lambda y, _: (dataset_of(y).batch(4), None),
    "dataset of a narrow array": lambda y, _: (dataset_of(narrow(y)), None),
    "dataset of strings": lambda y, _: (dataset_of([f"\u00a0{v} " for v in y]), None),
    "dataset of columns": lambda y, _: (dataset_of(np.array(y)[:, None]).batch(6), None),
    "csv": lambda y, folder: (from_file(csv_file(y, folder)), None),
    "jsonl": lambda y, folder: (from_file(jsonl_file(y, folder)), None),
}
# Each form with two cases, each case with four forms.
QUICK = {(form, case) for i, form in enumerate(FORMS) for j, case in enumerate(CASES) if (i + j) % 5 == 0}


@pytest.fixture(scope="module")
def classifier(tiny_preset):
    made = TextClassifier.from_preset(tiny_preset, labels=["a", "b"])
    made.compile(run_eagerly=True)

    def of(labels, multi_label=False):
        # Only the names matter here, and another network takes a second to build.
        from tftransformer.objectives import Classification

        made.objective = Classification(labels, multi_label)
        return made

    return of


def ids_of(model, x, y):
    """The targets that the loss of a model would be given."""
    if not isinstance(x, tf.data.Dataset):
        return model.preprocess(x, y).targets.values
    if isinstance(x.element_spec[1], tf.TensorSpec) and x.element_spec[1].shape.rank == 0:
        x = x.batch(4)
    # What tasks do with datasets, but for the texts, whose tokenizer takes a second to trace.
    encode = tf.autograph.experimental.do_not_convert(lambda _, y: model.objective.stream_encoder()(y))
    return np.concatenate(list(x.map(encode).as_numpy_iterator()))


@pytest.mark.parametrize(
    ("form", "case"),
    [
        pytest.param(form, case, marks=[] if (form, case) in QUICK else pytest.mark.slow)
        for form in FORMS
        for case in CASES
    ],
)
def test_one_meaning_of_labels_in_every_form(classifier, tmp_path, form, case):
    labels, values, expected = CASES[case]
    x, y = FORMS[form](values, tmp_path)
    found = ids_of(classifier(labels), x, y)
    assert found.dtype == "int32" and found.tolist() == expected


SEVERAL = {
    "names": (["a", "b", "c"], [["b"], ["a", "c"], []]),
    "ratings": ([1, 2, 3], [[2], [1, 3], []]),
    "ids": (["a", "b", "c"], [[1], [0, 2], []]),
}
MARKS = [[0, 1, 0], [1, 0, 1], [0, 0, 0]]


@pytest.mark.parametrize("case", SEVERAL)
def test_one_meaning_of_several_labels(classifier, tmp_path, case):
    labels, values = SEVERAL[case]
    model, texts = classifier(labels, multi_label=True), TEXTS[:3]
    written = [[str(v) for v in row] for row in values]
    filled = [[*row, "", ""][:2] for row in written]
    delimited, lists = tmp_path / "rows.csv", tmp_path / "rows.jsonl"
    delimited.write_text("".join(f"{t},{v}\n" for t, v in zip(["text", *texts], ["label", *map("|".join, written)])))
    lists.write_text("\n".join(json.dumps({"text": t, "label": v}) for t, v in zip(texts, values)))
    options = {"validation_fraction": 0, "test_fraction": 0}
    slices = tf.data.Dataset.from_tensor_slices
    forms = [
        (texts, values), (texts, written), (texts, [set(row) for row in values]), (texts, MARKS), (texts, np.array(MARKS)),
        (Split(texts, values, multi_label=True), None), (slices((texts, MARKS)).batch(2), None),
        (slices((texts, tf.ragged.constant(values))).batch(3), None),
        (slices((texts, tf.ragged.constant(written))).batch(2), None), (slices((texts, filled)).batch(3), None), (load(delimited, label_delimiter="|", **options).train, None),
        (load(lists, **options).train, None),
    ]  # fmt: skip
    for x, y in forms:
        assert ids_of(model, x, y).tolist() == MARKS, (x, y)


def test_documents_and_tasks_side_by_side_follow_the_same_rule(tiny_preset):
    labels, values, expected = CASES["ratings"]
    documents = DocumentClassifier.from_preset(tiny_preset, labels=labels, max_chunks=2)
    assert ids_of(documents, TEXTS, values).tolist() == expected
    assert ids_of(documents, dataset_of(values), None).tolist() == expected
    model = MultiTaskClassifier.from_preset(tiny_preset, tasks={"stars": labels, "truth": CASES["truth"][0]})
    truth, ids = CASES["truth"][1:]
    data = {"stars": dataset_of(values), "truth": (TEXTS, np.array(truth))}
    assert model.preprocess(data).targets.values[:, 1].tolist() == expected + ids


@pytest.mark.parametrize(
    ("labels", "y", "message"),
    [
        (["no", "yes"], [0, 1, 2], "y must hold labels among no, yes, or ids from 0 to 1; got 2 in row 2"),
        (["no", "yes"], [0, -1, 1], "got -1 in row 1"),
        (["1", "2", "3"], [1, 0, 2], "y must hold labels among 1, 2, 3; got 0 in row 1"),
        (["1", "2"], [1.0, np.nan, 2.0], "in row 1"),
        (["1", "2"], [1.0, np.inf, 2.0], "in row 1"),
        (["a", "b"], ["a", "b", "zz]"], "zz"),
        (["a", "b"], ["a", "", "b"], "in row 1"),
        (["a", "b"], [[0, 1], [0, 0], [1, 0]], "in row 1"),
    ],
)
def test_what_means_no_label_is_refused_in_datasets_as_in_lists(classifier, labels, y, message):
    model = classifier(labels)
    with pytest.raises(TransformerError) as caught:
        model.preprocess(TEXTS[:3], np.array(y))
    assert "row " in str(caught.value) and "\n" not in str(caught.value)
    rows = tf.data.Dataset.from_tensor_slices((TEXTS[:3], y)).batch(3)
    with pytest.raises(TransformerError) as caught:
        plain_refusals(ids_of)(model, rows, None)
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_fit_and_evaluate_refuse_in_one_line(classifier):
    rows = tf.data.Dataset.from_tensor_slices((TEXTS, ["a", "b", "c", "a", "b", "a"]))
    for method in (classifier(["a", "b"]).fit, classifier(["a", "b"]).evaluate):
        with pytest.raises(TransformerError) as caught:
            method(rows, verbose=0)
        rule = "y must hold labels among a, b, or ids from 0 to 1"
        assert str(caught.value) == f"{rule}; got c in row 2 (from 0) of a batch"


@pytest.mark.parametrize(
    ("y", "multi_label", "message"),
    [
        ([[1, 0, 0]] * 3, False, "one column for each of the 2 labels; got 3"),
        ([[1, 2, 3]] * 3, True, "one column for each of the 2 labels; got 3"),
        ([["a", "b"]] * 3, False, "y must be one label a text, or 2 columns; got shape"),
        ({"first": ["a"] * 3}, False, "y must be one tensor in a tf.data.Dataset; got a dict"),
    ],
)
def test_labels_of_a_wrong_shape_are_refused_in_datasets(classifier, y, multi_label, message):
    model = classifier(["a", "b"], multi_label)
    with pytest.raises(TransformerError, match=message):
        model.fit(tf.data.Dataset.from_tensor_slices((TEXTS[:3], y)), verbose=0, epochs=1)


def test_columns_of_other_numbers_are_refused_in_datasets(classifier):
    rows = tf.data.Dataset.from_tensor_slices((TEXTS[:2], [[1, 0], [1, 2]])).batch(2)
    with pytest.raises(TransformerError, match=r"^y must have numbers from 0 to 1 in each row; got .*1 2.* in row 1"):
        plain_refusals(ids_of)(classifier(["a", "b"], multi_label=True), rows, None)


def test_other_errors_of_tensorflow_pass_as_they_are():
    with pytest.raises(tf.errors.InvalidArgumentError):
        plain_refusals(tf.debugging.assert_equal)(1, 2)


def test_prediction_does_not_look_at_labels(classifier):
    model = classifier(["a", "b"])
    for x in (dataset_of([-1] * 6), Split(TEXTS, ["unknown"] * 6)):
        assert model.predict(x, verbose=0).shape == (6, 2)


def test_weights_of_classes_follow_the_same_rule(classifier):
    weights = classifier([1, 2, 3]).objective.class_weights({1: 5.0, "3.0": 7.0}, None)
    assert weights.numpy().tolist() == [5.0, 1.0, 7.0]
    assert classifier(["true", "false"]).objective.class_weights({True: 2.0}, None).numpy().tolist() == [2.0, 1.0]
