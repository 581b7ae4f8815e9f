"""A task of a user's own on an encoder is trained, saved, loaded and frozen like those of the package."""

import keras
import numpy as np
import pytest

from tftransformer import load
from tftransformer.data import Values
from tftransformer.errors import TransformerError
from tftransformer.finetuning import ActivationCache
from tftransformer.objectives import Objective
from tftransformer.patterns import addresses
from tftransformer.tasks import Task, TextClassifier

TEXTS = ["good film", "a bad plot", "the film", "bad", "good plot and film", "a film"]
GRADES = [5.0, 1.5, 3.0, 1.0, 4.5, 3.5]


class Grades(Objective):
    output_shape = (1,)

    def __init__(self, scale):
        self.scale = scale

    def encode(self, targets):
        return Values(np.asarray(targets, "float32"))

    def activate(self, output):
        return output * self.scale


@keras.saving.register_keras_serializable(package="test_encoder_task")
class Rater(Task):
    def __init__(self, config, tokenizer, scale=1.0, **options):
        super().__init__(config, tokenizer, objective=Grades(scale), **options)
        self.add_head(keras.layers.Dense(1, dtype=self.dtype_policy, name="head"))

    kept_settings = (*Task.kept_settings, "scale")

    def task_settings(self):
        return {**super().task_settings(), "scale": self.objective.scale}


@pytest.fixture(scope="module")
def trained(tiny_preset):
    rater = Rater.from_preset(tiny_preset, sequence_length=12, pooling="mean", dropout=0.0, scale=2.0)
    rater.compile(keras.optimizers.Adam(1e-2), "mse", run_eagerly=True)
    losses = rater.fit(TEXTS, GRADES, epochs=15, batch_size=6, verbose=0).history["loss"]
    assert losses[-1] < losses[0] / 4
    return rater


def test_a_folder_gives_back_the_class_its_weights_and_settings(trained, tmp_path):
    trained.save_to_preset(tmp_path / "rater")
    again = load(tmp_path / "rater")
    again.run_eagerly = True  # as the other, so that the same kernels compute
    assert (type(again), again.objective.scale, again.sequence_length, again.network.pooling) == (
        Rater,
        2.0,
        12,
        "mean",
    )
    for name, variable in addresses(trained).items():
        np.testing.assert_array_equal(variable.numpy(), addresses(again)[name].numpy(), err_msg=name)
    np.testing.assert_array_equal(again.predict(TEXTS, verbose=0), trained.predict(TEXTS, verbose=0))


def test_keras_files_hold_it(trained, tmp_path):
    trained.save(tmp_path / "rater.keras")
    again = keras.saving.load_model(tmp_path / "rater.keras")
    np.testing.assert_array_equal(again.predict(TEXTS, verbose=0), trained.predict(TEXTS, verbose=0))


def test_another_task_takes_the_encoder_and_no_head(trained, tmp_path):
    trained.save_to_preset(tmp_path / "rater")
    classifier = TextClassifier.from_preset(tmp_path / "rater", labels=["bad", "good"])
    kernel = "encoder_block_0/attention/query/kernel"
    np.testing.assert_array_equal(addresses(classifier)[kernel].numpy(), addresses(trained)[kernel].numpy())
    assert any(name.startswith("head/") for name in classifier.newly_initialized)
    classifier.save_to_preset(tmp_path / "classifier")
    assert "head/kernel" in Rater.from_preset(tmp_path / "classifier").newly_initialized


def test_stored_activations_train_the_same_weights(tiny_preset):
    def weights(cache):
        keras.utils.set_random_seed(0)
        rater = Rater.from_preset(tiny_preset, dropout=0.0)
        rater.apply("head")
        rater.compile(keras.optimizers.SGD(1e-2), "mse")
        rater.fit(TEXTS, GRADES, epochs=2, batch_size=3, verbose=0, activation_cache=cache)
        return addresses(rater)["head/kernel"].numpy()

    said = []
    np.testing.assert_allclose(weights(ActivationCache(say=said.append)), weights("off"), rtol=1e-6, atol=1e-6)
    assert said and "off" not in said[0]


def test_its_arguments_are_checked(tiny_preset):
    with pytest.raises(TransformerError, match="pooling must be one of .* did you mean 'mean'"):
        Rater.from_preset(tiny_preset, pooling="meen")
    with pytest.raises(TransformerError, match="Grades does not say how it is served"):
        Rater.from_preset(tiny_preset).export("nowhere")
