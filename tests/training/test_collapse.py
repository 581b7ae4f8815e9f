"""`fit` says in one line that a classifier has collapsed, and nothing of one that learns."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tftransformer.finetuning import StopOnNonFinite
from tftransformer.tasks import TextClassifier
from tftransformer.training.collapse import collapse_monitors


def build(preset, **compiled):
    keras.utils.set_random_seed(0)
    classifier = TextClassifier.from_preset(preset, labels=["negative", "positive"], sequence_length=16)
    classifier.compile(**compiled)
    return classifier


@pytest.mark.slow  # test_collapse.py of the callback has the rules
@pytest.mark.parametrize(("rate", "noticed"), [(3.0, True), (3e-3, False)])
def test_a_collapse_is_noticed(tiny_preset, reviews, capsys, rate, noticed):
    classifier = build(tiny_preset, learning_rate=rate, fresh_multiplier=1.0)
    texts, labels = reviews
    classifier.fit(texts, labels, batch_size=8, epochs=16, verbose=0)
    lines = [line for line in capsys.readouterr().out.splitlines() if "guessing" in line]
    assert len(lines) == noticed
    for line in lines:
        assert line.startswith("after 100 updates the loss on the training batches is")


def test_what_cannot_be_compared_with_guessing_is_not_looked_at(tiny_preset, reviews):
    classifier = build(tiny_preset)
    data = classifier.preprocess(*reviews)
    assert len(collapse_monitors(classifier, data, 250)) == 1
    assert collapse_monitors(classifier, tf.data.Dataset.from_tensor_slices(reviews), 250) == []
    assert collapse_monitors(build(tiny_preset, loss="mse"), data, 250) == []
    assert collapse_monitors(build(tiny_preset, l2=1e-3), data, 250) == []
    (callback,) = collapse_monitors(classifier, data, 250, tf.constant([2.0, 0.0]))
    assert callback.chance == pytest.approx(0.0, abs=1e-6)
    (callback,) = collapse_monitors(classifier, data, 250)
    probabilities, loss = callback.probe()
    some = data.take(range(0, 60, 2))
    expected = classifier.predict(some, verbose=0)
    np.testing.assert_allclose(probabilities, expected, atol=1e-6)
    classifier.compile(run_eagerly=True)
    assert loss == pytest.approx(classifier.evaluate(some, verbose=0, return_dict=True)["loss"], rel=1e-5)
    several = TextClassifier.from_preset(tiny_preset, labels=["a", "b", "c"], sequence_length=16, multi_label=True)
    several.compile(run_eagerly=True)
    data = several.preprocess(list(reviews[0]), [["a"], ["a", "b"], []] * 20)
    (callback,) = collapse_monitors(several, data, 250)
    some = data.take(range(0, 60, 2))
    assert callback.probe()[1] == pytest.approx(several.evaluate(some, verbose=0, return_dict=True)["loss"], rel=1e-5)


def test_the_guard_comes_last(tiny_preset, reviews, monkeypatch):
    seen = []
    monkeypatch.setattr(keras.Model, "fit", lambda self, *_, callbacks, **options: seen.append(callbacks))
    build(tiny_preset).fit(*reviews, callbacks=[keras.callbacks.TerminateOnNaN()], epochs=1)
    assert isinstance(seen[0][-1], StopOnNonFinite)
