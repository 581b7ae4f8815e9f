"""k nearest texts: the votes themselves, how many there are, and that all that keeps a model keeps them."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from sklearn.neighbors import KNeighborsClassifier

import tftransformer as tt
from tftransformer.data.split import Split
from tftransformer.errors import TransformerError
from tftransformer.finetuning.methods import nearest_texts
from tftransformer.finetuning.methods.nearest_texts import NearestTexts
from tftransformer.layers.neighbours import NeighbourVotes
from tftransformer.tasks.text_classifier import TextClassifier

LABELS = ("negative", "positive")


@pytest.fixture
def rows(reviews):
    return Split(*reviews)


def build(preset, rows, method=NearestTexts(4), **options):
    keras.utils.set_random_seed(5)
    classifier = TextClassifier.from_preset(preset, **{"labels": LABELS, "sequence_length": 12, **options})
    classifier.apply(method)
    classifier.compile()
    classifier.fit(rows, verbose=0)
    return classifier


def voted(layer, x):
    return keras.ops.convert_to_numpy(keras.ops.softmax(layer(x), axis=-1))


@pytest.mark.parametrize("k", [1, 5])
def test_it_is_the_vote_of_scikit_learn(k):
    draw = np.random.default_rng(0)
    vectors, targets, asked = draw.normal(size=(40, 6)), draw.integers(0, 3, 40), draw.normal(size=(9, 6))
    layer = NeighbourVotes(3, rows=40, neighbours=k)
    layer.build((None, 6))
    layer.vectors.assign((vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)).T)
    layer.votes.assign(np.eye(3)[targets])
    # Its distance is one less the cosine.
    theirs = KNeighborsClassifier(k, metric="cosine", weights=lambda d: np.exp((1 - d) / 0.07)).fit(vectors, targets)
    expected = 0.99 * theirs.predict_proba(asked) + 0.01 / 3
    np.testing.assert_allclose(voted(layer, asked.astype("float32")), expected, atol=1e-5)


def test_what_keeps_a_model_keeps_its_texts(one_block_preset, rows, tmp_path):
    classifier = build(one_block_preset, rows)
    assert int(classifier.optimizer.iterations) == 0 and classifier.head.neighbours.rows == 60
    texts = list(rows.texts[:7])
    before = classifier.predict(texts, verbose=0)
    layer, vectors = classifier.head.neighbours, classifier.encode(texts)
    np.testing.assert_allclose(before, voted(layer, vectors), atol=1e-6)
    # Each text is there itself.
    unit = vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)
    np.testing.assert_allclose((unit @ np.array(layer.vectors)).max(-1), 1.0, atol=1e-5)
    classifier.calibrate(rows)
    calibrated = classifier.predict(texts, verbose=0)
    assert not np.allclose(calibrated, before)
    classifier.save_to_preset(tmp_path / "folder")
    classifier.save(tmp_path / "model.keras")
    for again in (tt.load(tmp_path / "folder"), keras.models.load_model(tmp_path / "model.keras")):
        np.testing.assert_allclose(again.predict(texts, verbose=0), calibrated, atol=1e-6)
    classifier.export(tmp_path / "serving")
    served = tf.saved_model.load(str(tmp_path / "serving")).signatures["serving_default"](text=tf.constant(texts))
    np.testing.assert_allclose(served["probabilities"], calibrated, atol=1e-5)


def test_order_weights_and_other_texts(one_block_preset, rows):
    texts = list(rows.texts[:9])
    classifier = build(one_block_preset, rows)
    before = classifier.predict(texts, verbose=0)
    classifier.fit(rows.take(range(59, -1, -1)), verbose=0)
    np.testing.assert_allclose(classifier.predict(texts, verbose=0), before, atol=1e-6)
    # A row of weight 0 might as well not be there.
    classifier.fit(rows, sample_weight=np.arange(60) < 30, verbose=0)
    assert classifier.head.neighbours.rows == 30
    weighted = classifier.predict(texts, verbose=0)
    classifier.fit(rows.take(range(30)), verbose=0)
    np.testing.assert_allclose(classifier.predict(texts, verbose=0), weighted, atol=1e-6)


def test_as_many_vote_as_tell_the_labels_of_the_others():
    draw, method = np.random.default_rng(0), NearestTexts()
    targets = np.arange(200) % 2

    def chosen(noise):
        vectors = draw.normal(0, noise, (200, 5)) + 3.0 * np.eye(2, 5)[targets]
        vectors /= np.linalg.norm(vectors, axis=-1, keepdims=True)
        return method._choose(vectors, np.eye(2)[targets], np.zeros(200), {"multi_label": False}, 0)

    assert chosen(0.1) <= chosen(5.0) and chosen(5.0) >= 32


def test_several_labels_have_a_vote_each(one_block_preset, reviews):
    targets = [("good", "short") if i % 2 else () for i in range(60)]
    rows = Split(reviews[0], targets, multi_label=True)
    classifier = build(one_block_preset, rows, NearestTexts(1), labels=("good", "short"), multi_label=True)
    right = classifier.predict(rows, verbose=0) > 0.5
    assert np.mean(right == (np.arange(60) % 2 == 1)[:, None]) > 0.9


def test_what_cannot_be(one_block_preset, rows, monkeypatch):
    for given, message in (
        ({"neighbours": 0}, "neighbours must be a positive integer; got 0"),
        ({"temperature": 0.0}, "temperature must be above 0; got 0"),
    ):
        with pytest.raises(TransformerError, match=message):
            NearestTexts(**given)
    classifier = build(one_block_preset, rows, "neighbours:100")
    assert classifier.head.neighbours.neighbours == 60
    assert not any(variable.trainable for variable in classifier.head.neighbours.weights)
    classifier.apply("neighbours:3")  # once more
    assert not any(variable.trainable for variable in classifier.head.neighbours.weights)
    monkeypatch.setattr(nearest_texts, "MOST_BYTES", 100)
    before = classifier.predict(list(rows.texts), verbose=0)
    with pytest.raises(
        TransformerError, match="neighbours keeps the vectors of all training texts, .*; got 60 texts of 18"
    ):
        classifier.fit(rows, verbose=0)
    np.testing.assert_array_equal(classifier.predict(list(rows.texts), verbose=0), before)


def test_other_labels_other_tasks_and_the_encoder_alone_have_none_of_it(one_block_preset, rows, tmp_path):
    classifier = build(one_block_preset, rows)
    classifier.save_to_preset(tmp_path / "folder")
    others = TextClassifier.from_preset(tmp_path / "folder", labels=["no", "yes"])
    assert others.head.neighbours is None and others.fresh
    assert tt.MultiTaskClassifier.from_preset(tmp_path / "folder", tasks={"a": ["no", "yes"]}).head is not None
    classifier.save_to_preset(tmp_path / "encoder", head=False)
    assert TextClassifier.from_preset(tmp_path / "encoder", labels=LABELS).head.neighbours is None


def test_what_trains_needs_a_linear_head_again(one_block_preset, rows):
    classifier = build(one_block_preset, rows)
    classifier.apply("full")
    classifier.compile(run_eagerly=True)
    with pytest.raises(
        TransformerError, match="the head answers by its nearest texts, which no update trains: apply probe"
    ):
        classifier.fit(rows, epochs=1, verbose=0)
    classifier.apply("probe")
    classifier.compile(run_eagerly=True)
    classifier.fit(rows, verbose=0)
    assert classifier.head.neighbours is None
    linear = build(one_block_preset, rows, "probe")
    np.testing.assert_allclose(
        classifier.predict(list(rows.texts), verbose=0), linear.predict(list(rows.texts), verbose=0), atol=1e-5
    )
