"""Texts to batches: what decides between single texts and pairs, nothing to read, steps, forms of texts."""

import numpy as np
import pytest
import tensorflow as tf

from tftransformer.data import Split
from tftransformer.errors import TransformerError
from tftransformer.tasks import MultiTaskClassifier, TextClassifier

TEXTS = ["good film", "bad plot and a very slow story", "great", "dull music", "bright"]
PAIRS = list(zip(TEXTS, TEXTS[::-1]))
Y = [1, 0, 1, 0, 1]


@pytest.fixture
def classifier(tiny_preset):
    made = TextClassifier.from_preset(tiny_preset, labels=["no", "yes"], dropout=0.0)
    made.compile(run_eagerly=True)
    return made


def test_predictions_decide_nothing_between_single_texts_and_pairs(classifier):
    for nothing in ([], np.array([], "U1"), Split([])):
        assert classifier.predict(nothing, verbose=0).shape == (0, 2)
    for x in (TEXTS, PAIRS, TEXTS, tf.data.Dataset.from_tensor_slices(TEXTS)):
        assert classifier.predict(x, verbose=0).shape == (5, 2) and classifier.text_pairs is None
    classifier.evaluate(TEXTS, Y, verbose=0)
    assert classifier.text_pairs is None


@pytest.mark.parametrize(
    ("form", "pairs"),
    [
        ("rows", True),
        ("dataset", False),
        pytest.param("rows", False, marks=pytest.mark.slow),
        pytest.param("dataset", True, marks=pytest.mark.slow),
    ],
)
def test_training_decides_between_single_texts_and_pairs(classifier, form, pairs, tmp_path):
    x, other = (PAIRS, TEXTS) if pairs else (TEXTS, PAIRS)
    sides = tuple(map(list, zip(*PAIRS))) if pairs else TEXTS
    data = (x, Y) if form == "rows" else (tf.data.Dataset.from_tensor_slices((sides, Y)),)
    classifier.fit(*data, verbose=0, epochs=1)
    assert classifier.text_pairs is pairs
    assert classifier.predict([], verbose=0).shape == (0, 2)
    with pytest.raises(TransformerError, match="this model was trained on "):
        classifier.predict(other, verbose=0)
    classifier.save_to_preset(tmp_path / "saved")
    assert TextClassifier.from_preset(tmp_path / "saved").text_pairs is pairs


def test_training_of_several_tasks_decides_for_each(tiny_preset):
    model = MultiTaskClassifier.from_preset(tiny_preset, tasks={"one": ["no", "yes"], "two": ["no", "yes"]})
    model.compile(run_eagerly=True)
    model.predict(PAIRS, task="one", verbose=0)
    assert model.tasks["one"].text_pairs is None
    model.fit({"two": (PAIRS, Y), "one": (TEXTS, Y)}, verbose=0, epochs=1)
    assert [task.text_pairs for task in model.tasks.values()] == [False, True]
    assert model.predict([], task="two", verbose=0).shape == (0, 2)


def test_data_that_are_refused_decide_nothing(classifier, tiny_preset):
    with pytest.raises(TransformerError, match="this model was trained on single texts; got pairs"):
        classifier.fit(TEXTS, Y, validation_data=(PAIRS, Y), verbose=0, epochs=1)
    assert classifier.text_pairs is None
    model = MultiTaskClassifier.from_preset(tiny_preset, tasks={"one": ["no", "yes"]})
    model.compile(run_eagerly=True)
    with pytest.raises(TransformerError, match="task 'one' is of single texts; got pairs"):
        model.fit({"one": (TEXTS, Y)}, validation_data={"one": (PAIRS, Y)}, verbose=0, epochs=1)
    assert model.tasks["one"].text_pairs is None


def test_nothing_to_evaluate_is_said(classifier):
    with pytest.raises(TransformerError, match="^evaluate needs at least one row$"):
        classifier.evaluate([], [], verbose=0)
    with pytest.raises(TransformerError, match="^evaluate needs labels: give a Split with targets, or y$"):
        classifier.evaluate(TEXTS, verbose=0)


def test_steps_count_from_the_first_text(classifier):
    whole = classifier.predict(TEXTS, verbose=0)
    for steps, rows in ((1, 2), (2, 4), (9, 5)):
        part = classifier.predict(TEXTS, batch_size=2, steps=steps, verbose=0)
        np.testing.assert_allclose(part, whole[:rows], atol=1e-6)
    logs = classifier.evaluate(TEXTS, Y, batch_size=2, steps=1, verbose=0, return_dict=True)
    assert logs == pytest.approx(classifier.evaluate(TEXTS[:2], Y[:2], verbose=0, return_dict=True), abs=1e-6)
    np.testing.assert_array_equal(
        classifier.predict(TEXTS, batch_size=2, steps=np.int64(1), verbose=0),
        classifier.predict(TEXTS, batch_size=2, steps=1, verbose=0),
    )
    for steps in (0, -1, 1.5, True):
        with pytest.raises(TransformerError, match="^steps must be a positive integer; got "):
            classifier.predict(TEXTS, steps=steps, verbose=0)
        with pytest.raises(TransformerError, match="^validation_steps must be a positive integer; got "):
            classifier.fit(TEXTS, Y, validation_data=(TEXTS, Y), validation_steps=steps, verbose=0, epochs=1)


def test_vectors_do_not_look_at_labels_and_do_not_warn(classifier, recwarn):
    expected = classifier.encode(TEXTS)
    labelled = Split(TEXTS, ["of", "none", "of", "its", "labels"])
    np.testing.assert_array_equal(classifier.encode(labelled), expected)
    stream = tf.data.Dataset.from_tensor_slices((TEXTS, labelled.targets))
    np.testing.assert_allclose(classifier.encode(stream), expected, rtol=1e-5, atol=1e-6)
    classifier.jit_compile = True
    np.testing.assert_array_equal(classifier.encode(TEXTS), expected)
    assert not [str(w.message) for w in recwarn if "jit_compile" in str(w.message)]


@pytest.mark.slow
def test_steps_of_validation_count_from_the_first_text(classifier):
    options = {"validation_data": (TEXTS, Y), "validation_steps": 1, "batch_size": 2}
    history = classifier.fit(TEXTS, Y, **{"epochs": 1, **options}, verbose=0).history
    seen = classifier.evaluate(TEXTS[:2], Y[:2], verbose=0, return_dict=True)
    assert history["val_loss"][0] == pytest.approx(seen["loss"], abs=1e-6)


def test_two_pairs_in_a_tuple_are_two_pairs(classifier):
    expected = classifier.predict(PAIRS[:2], verbose=0)
    np.testing.assert_array_equal(classifier.predict(tuple(PAIRS[:2]), verbose=0), expected)


def test_columns_of_pandas_and_pyarrow_are_predicted_row_by_row(classifier):
    pandas, arrow = pytest.importorskip("pandas"), pytest.importorskip("pyarrow")
    frame = pandas.DataFrame({"text": TEXTS, "channel": ["mail"] * 5})
    expected = classifier.predict(TEXTS, verbose=0)
    table = arrow.table({"text": TEXTS})
    for x in (frame[["text"]], frame, frame["text"], frame[["text"]].to_numpy(), table, table["text"]):
        np.testing.assert_array_equal(classifier.predict(x, verbose=0), expected)
    with pytest.raises(TransformerError, match="got body, channel"):
        classifier.predict(frame.rename(columns={"text": "body"}), verbose=0)
    classifier.fit(frame, pandas.Series(Y), verbose=0, epochs=1)


@pytest.mark.parametrize("method", ["fit", "evaluate", "predict"])
def test_distributed_datasets_are_refused_in_one_line(classifier, method):
    rows = tf.data.Dataset.from_tensor_slices((TEXTS, Y)).batch(5)
    distributed = tf.distribute.MirroredStrategy(["CPU:0"]).experimental_distribute_dataset(rows)
    with pytest.raises(TransformerError, match="^x must be a tf.data.Dataset, not distributed yet") as caught:
        getattr(classifier, method)(distributed, verbose=0)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("y", [float("nan"), float("inf"), None])
def test_what_is_no_label_is_not_trained_on(classifier, y):
    with pytest.raises(TransformerError, match=r"^labels: row 0 \(from 0\) has no label; got "):
        classifier.fit(["a"], [y], verbose=0, epochs=1)


@pytest.mark.parametrize("labels", [6, "abc", {"no": 0}])
def test_labels_are_names_in_a_list(tiny_preset, labels):
    with pytest.raises(TransformerError, match="^labels must be the names of the classes, in a list; got "):
        TextClassifier.from_preset(tiny_preset, labels=labels)
