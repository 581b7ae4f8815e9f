"""A row of weight 0 is a row that is not there, whatever the method; and weights that mean nothing are refused."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import tftransformer as tt
from tftransformer.data.split import Split
from tftransformer.data.stream_labels import checked_weights
from tftransformer.errors import TransformerError
from tftransformer.finetuning.methods import Contrastive
from tftransformer.patterns import addresses
from tftransformer.tasks.text_classifier import TextClassifier

LABELS = ("negative", "positive")
METHODS = {
    "full": "full", "cached": "freeze:1", "lora": "lora:2", "probe": "probe",
    "head_start": "head_start", "contrastive": Contrastive(3, batch_size=4), "unfreeze": "unfreeze",
}  # fmt: skip


def trained(preset, rows, weights, method="full", labels=LABELS, **options):
    keras.utils.set_random_seed(5)
    classifier = TextClassifier.from_preset(preset, labels=labels, sequence_length=12)
    classifier.apply(METHODS[method])
    classifier.compile(run_eagerly=True)
    epochs = {} if method in ("probe", "contrastive") else {"epochs": 3 if method == "unfreeze" else 2}
    classifier.fit(*rows, sample_weight=weights, batch_size=8, verbose=0, **epochs, **options)
    return {name: np.array(value) for name, value in addresses(classifier).items()}


@pytest.fixture(scope="module")
def rows(reviews):
    texts, labels = reviews
    return list(texts)[:20], list(labels)[:20]


@pytest.mark.parametrize("method", METHODS)
def test_a_row_of_weight_0_is_not_there(tiny_preset, rows, method):
    texts, labels = rows
    # Vectors of another length, another text and the wrong label: whatever reads them shows it.
    more = ([texts[0], "awful " * 9, *texts[1:], "dull"], [labels[0], "positive", *labels[1:], "positive"])
    weights = np.linspace(0.5, 2.0, 20)
    with_zeros = np.concatenate([weights[:1], [0.0], weights[1:], [0.0]])
    expected = trained(tiny_preset, rows, weights, method)
    found = trained(tiny_preset, more, with_zeros, method)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value, err_msg=name)


def test_a_class_of_weight_0_has_no_rows(tiny_preset, rows):
    texts, labels = rows
    more = ([*texts, "story", "film"], [*labels, "neutral", "neutral"])
    labels = (*LABELS, "neutral")
    options = {"labels": labels, "class_weight": {"neutral": 0.0}}
    expected = trained(tiny_preset, rows, None, **options)
    for name, value in trained(tiny_preset, more, None, **options).items():
        np.testing.assert_array_equal(value, expected[name], err_msg=name)


def test_balanced_weights_count_the_rows_that_are_there(tiny_preset, rows):
    texts, labels = rows
    expected = trained(tiny_preset, rows, np.ones(20), class_weight="balanced")
    more = ([*texts, "story"], [*labels, "positive"])
    found = trained(tiny_preset, more, [*np.ones(20), 0.0], class_weight="balanced")
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value, err_msg=name)


def test_the_tasks_of_a_multi_task_classifier_lose_their_rows(tiny_preset, rows):
    texts, labels = rows
    classifier = tt.MultiTaskClassifier.from_preset(tiny_preset, tasks={"one": LABELS, "two": LABELS})
    examples = classifier.preprocess({"one": (texts, labels, [0.0, *np.ones(19)]), "two": (texts[:4], labels[:4])})
    kept = examples.keep(examples.weights)
    assert kept.sizes == (19, 4) and len(kept) == 23 and kept.maker == examples.maker
    np.testing.assert_array_equal(kept.targets.values, examples.targets.values[1:])


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ([1.0, -1.0, 1.0], r"sample_weight must hold finite numbers of at least 0; got -1 in row 1 \(from 0\)"),
        ([1.0, 1.0, float("nan")], r"sample_weight must hold finite numbers of at least 0; got nan in row 2"),
        ([1.0, float("inf"), 1.0], "got inf in row 1"),
        ([0.0, 0.0, 0.0], "sample_weight must be above 0 in one row at least; got zeros alone"),
        (["a", "b", "c"], r"sample_weight must hold finite numbers of at least 0; got \['a'"),
        ([1.0], "sample_weight must have as many numbers as there are texts, 3; got 1"),
    ],
)
def test_weights_that_mean_nothing_are_refused_everywhere(tiny_preset, weights, message):
    classifier = TextClassifier.from_preset(tiny_preset, labels=LABELS)
    texts, labels = ["good film", "bad film", "fine"], ["positive", "negative", "positive"]
    classifier.compile(run_eagerly=True)
    for call in (
        lambda: classifier.fit(texts, labels, sample_weight=weights, epochs=1, verbose=0),
        lambda: classifier.fit(Split(texts, labels), sample_weight=weights, epochs=1, verbose=0),
        lambda: classifier.fit(texts, labels, validation_data=(texts, labels, weights), epochs=1, verbose=0),
        lambda: classifier.evaluate(texts, labels, sample_weight=weights, verbose=0),
        lambda: classifier.preprocess(texts, labels, weights),
    ):
        with pytest.raises(TransformerError, match=message):
            call()
    assert classifier.optimizer.iterations == 0


def test_class_weights_that_leave_no_row_are_refused(tiny_preset, rows):
    texts, labels = rows
    with pytest.raises(TransformerError, match="class_weight must be above 0 for one class at least; got zeros alone"):
        trained(tiny_preset, rows, None, class_weight=[0.0, 0.0])
    positive = [text for text, label in zip(texts, labels) if label == "positive"]
    with pytest.raises(TransformerError, match="fit needs a row whose weight is above 0; sample_weight and class_wei"):
        trained(tiny_preset, (positive, ["positive"] * len(positive)), None, class_weight=[1.0, 0.0])


@pytest.mark.parametrize("value", [-1.0, float("nan")])
def test_weights_of_a_dataset_are_refused_when_they_come(tiny_preset, rows, value):
    texts, labels = rows
    weights = [1.0] * 12 + [value] + [1.0] * 7
    data = tf.data.Dataset.from_tensor_slices((texts, labels, weights))
    classifier = TextClassifier.from_preset(tiny_preset, labels=LABELS)
    classifier.compile(run_eagerly=True)
    with pytest.raises(
        TransformerError, match=r"sample_weight must hold finite numbers of at least 0; got .* in row 4 \(from 0\) of a"
    ):
        classifier.fit(data, batch_size=8, epochs=1, verbose=0)


@pytest.mark.parametrize("shape", [(3,), (3, 1), (3, 4)])
def test_weights_of_a_dataset_stay_as_they_are(shape):
    weights = tf.random.uniform(shape, dtype=tf.float64)
    assert checked_weights(weights).dtype == tf.float64
    np.testing.assert_array_equal(checked_weights(weights), weights)
    wrong = tf.tensor_scatter_nd_update(weights, [[2] + [0] * (len(shape) - 1)], tf.constant([-1.0], tf.float64))
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"(?s)sample_weight must hold .*-1.0.*in row'\n2\n"):
        checked_weights(wrong)
