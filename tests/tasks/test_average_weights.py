"""A task that averages its weights: judged, saved and exported with the average, and resumed as if it had not stopped."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tftransformer.errors import TransformerError
from tftransformer.finetuning import SGD, AdamW
from tftransformer.finetuning.methods import AverageWeights
from tftransformer.finetuning.recipe import choose_recipe
from tftransformer.patterns import addresses
from tftransformer.tasks import TextClassifier
from tftransformer.training import fit
from tftransformer.training.collapse import restart

# tests/finetuning/test_weight_averages.py has the averages by themselves.
pytestmark = pytest.mark.slow


def build(preset, methods="average", seed=0, **options):
    keras.utils.set_random_seed(seed)
    classifier = TextClassifier.from_preset(preset, labels=["negative", "positive"], sequence_length=16)
    classifier.apply(methods)
    classifier.compile(**{"learning_rate": 1e-2, "run_eagerly": True, **options})
    return classifier


def values(classifier):
    return {name: keras.ops.convert_to_numpy(weight) for name, weight in addresses(classifier).items()}


class Recorded(keras.callbacks.Callback):
    def __init__(self):
        super().__init__()
        self.seen = []

    def on_train_batch_end(self, batch, logs=None):
        self.seen.append(values(self.model))


def averaged(history, name):
    """What a fraction of a half means: the weights after update s are worth s (s + 1) / 2."""
    worth = [s * (s + 1) / 2 for s in range(1, len(history) + 1)]
    return np.average([weights[name].astype("float64") for weights in history], axis=0, weights=worth)


@pytest.mark.by_default("lora:2+average")
@pytest.mark.parametrize("methods", ["lora:2+average", "freeze:1+average", "average"])
def test_the_model_has_the_average_of_what_trains(tiny_preset, reviews, methods):
    recorded = Recorded()
    classifier = build(tiny_preset, methods)
    start = values(classifier)
    data = tuple(column[:20] for column in reviews)
    history = classifier.fit(
        *data, validation_data=data, epochs=2, batch_size=8, verbose=0, activation_cache="off", callbacks=[recorded]
    ).history
    trained = {weight.path for weight in classifier.trainable_variables}
    for name, weight in addresses(classifier).items():
        if weight.path in trained:
            np.testing.assert_allclose(weight, averaged(recorded.seen, name), rtol=1e-5, atol=1e-6, err_msg=name)
            assert not np.array_equal(weight, recorded.seen[-1][name]) or "key/bias" in name, name
        else:
            np.testing.assert_array_equal(weight, start[name], err_msg=name)
    figures = classifier.evaluate(*data, batch_size=8, verbose=0, return_dict=True)
    for name, figure in figures.items():
        assert figure == pytest.approx(history[f"val_{name}"][-1], rel=1e-5)


def test_files_hold_the_average(tiny_preset, reviews, tmp_path):
    texts, labels = (column[:20] for column in reviews)
    checkpoint = keras.callbacks.ModelCheckpoint(tmp_path / "epoch.weights.h5", save_weights_only=True)
    classifier = build(tiny_preset)
    classifier.fit(texts, labels, epochs=1, batch_size=8, verbose=0, callbacks=[checkpoint])
    answers = classifier.predict(texts, verbose=0)
    classifier.save_to_preset(tmp_path / "preset")
    again = TextClassifier.from_preset(tmp_path / "preset")
    np.testing.assert_allclose(again.predict(texts, verbose=0), answers, atol=1e-6)
    classifier.save(tmp_path / "classifier.keras")
    again = keras.saving.load_model(tmp_path / "classifier.keras")
    assert again.methods == classifier.methods == (AverageWeights(0.5),)
    np.testing.assert_allclose(again.predict(texts, verbose=0), answers, atol=1e-6)
    again = build(tiny_preset, seed=1)
    again.load_weights(tmp_path / "epoch.weights.h5")
    np.testing.assert_allclose(again.predict(texts, verbose=0), answers, atol=1e-6)


@pytest.mark.slow
def test_what_is_exported_is_the_average(tiny_preset, reviews, tmp_path):
    texts, labels = (column[:20] for column in reviews)
    classifier = build(tiny_preset, run_eagerly=False)
    classifier.fit(texts, labels, epochs=1, batch_size=8, verbose=0)
    classifier.export(tmp_path / "served")
    served = tf.saved_model.load(str(tmp_path / "served")).signatures["serving_default"](text=tf.constant(texts))
    np.testing.assert_allclose(served["probabilities"], classifier.predict(texts, verbose=0), atol=1e-5)


class Killed(keras.callbacks.Callback):
    """Ends the process, so to speak, when an epoch begins."""

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == 1:
            raise KeyboardInterrupt


@pytest.mark.parametrize("options", [{}, pytest.param({"run_eagerly": False}, marks=pytest.mark.slow)])
def test_a_run_that_was_interrupted_is_the_one_that_was_not(tiny_preset, reviews, tmp_path, options):
    data = tuple(column[:20] for column in reviews)
    fit = dict(batch_size=8, epochs=2, verbose=0, validation_data=data)
    whole = build(tiny_preset, **options)
    figures = whole.fit(*data, **fit).history
    stopped = build(tiny_preset, **options)
    with pytest.raises(KeyboardInterrupt):
        stopped.fit(*data, **fit, callbacks=[keras.callbacks.BackupAndRestore(tmp_path / "backup"), Killed()])
    resumed = build(tiny_preset, seed=7, **options)
    history = resumed.fit(*data, **fit, callbacks=[keras.callbacks.BackupAndRestore(tmp_path / "backup")])
    assert history.epoch == [1]
    assert history.history["val_loss"] == figures["val_loss"][1:]
    for name, value in values(whole).items():
        np.testing.assert_array_equal(values(resumed)[name], value, err_msg=name)


def test_weights_that_join_later_are_averaged_with_what_they_were(two_block_preset, reviews):
    recorded = Recorded()
    classifier = build(two_block_preset, "average+unfreeze")
    start = values(classifier)
    classifier.fit(*(column[:16] for column in reviews), epochs=3, batch_size=8, verbose=0, callbacks=[recorded])
    assert len(recorded.seen) == 6
    for name, weight in values(classifier).items():
        np.testing.assert_allclose(weight, averaged(recorded.seen, name), rtol=1e-5, atol=1e-6, err_msg=name)
    joined = "encoder_block_0/attention/query/kernel"
    np.testing.assert_array_equal(recorded.seen[1][joined], start[joined])
    assert not np.array_equal(recorded.seen[-1][joined], start[joined])


def test_a_run_that_begins_again_begins_its_average_again(tiny_preset, reviews, monkeypatch):
    """Collapsed at the first attempt, as `fit` is told here; what comes out is the second attempt's average alone."""

    class Once(keras.callbacks.Callback):
        attempts = 0

        def on_train_begin(self, logs=None):
            type(self).attempts += 1
            self.collapsed = False

        def on_train_batch_end(self, batch, logs=None):
            if self.attempts == 1 and batch == 1:
                self.collapsed = self.model.stop_training = True

    monkeypatch.setattr(fit, "collapse_monitors", lambda *_, **__: [Once()])
    recorded = Recorded()
    classifier = build(tiny_preset)
    start = values(classifier)
    classifier.fit(
        *(column[:20] for column in reviews), epochs=choose_recipe(20, 16, 2, {}, epochs=2), batch_size=8,
        verbose=0, callbacks=[recorded],
    )  # fmt: skip
    assert Once.attempts == 2 and len(recorded.seen) == 2 + 6
    for name, weight in values(classifier).items():
        np.testing.assert_allclose(weight, averaged(recorded.seen[2:], name), rtol=1e-5, atol=1e-6, err_msg=name)
    restart(classifier, [(addresses(classifier)[name], value) for name, value in start.items()])
    classifier.optimizer.show_average()
    np.testing.assert_array_equal(values(classifier)["head/logits/kernel"], start["head/logits/kernel"])


def test_an_optimizer_of_ones_own_says_it_itself(tiny_preset):
    classifier = TextClassifier.from_preset(tiny_preset, labels=["no", "yes"])
    classifier.apply("average")
    for optimizer in ("adam", AdamW(1e-4)):
        with pytest.raises(
            TransformerError, match="average:0.5 cannot go with an optimizer: give .* average=0.5 itself"
        ):
            classifier.compile(optimizer)
    classifier.apply("full")
    classifier.compile(SGD(1e-2, average=0.25))
    assert classifier.optimizer.weight_averages.fraction == 0.25
