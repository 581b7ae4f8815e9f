"""LoRA, DoRA and IA3: they start as nothing, compute what their papers say, and merge into the same."""

import itertools

import keras
import numpy as np
import pytest
from keras import ops

from tftransformer.errors import TransformerError
from tftransformer.finetuning import load_changes, merge, save_changes, unmerge
from tftransformer.finetuning.methods import IA3, DoRA, LoRA
from tftransformer.layers.projection import Projection, project_together
from tftransformer.layers.sublayers import sublayers_of
from tftransformer.patterns import addresses
from tftransformer.tasks.text_classifier import TextClassifier

METHODS = {"lora": LoRA(2, alpha=3.0), "dora": DoRA(2, alpha=3.0), "ia3": IA3()}
EVERYWHERE = {
    "lora": LoRA(2, targets=".*/(attention|feed_forward)/.*"),
    "dora": DoRA(2, targets=".*/(attention|feed_forward)/.*"),
    "ia3": IA3(outputs=".*/attention/.*", inputs=".*/feed_forward/.*"),
}


@pytest.fixture
def classifier(two_block_preset):
    keras.utils.set_random_seed(1)
    return TextClassifier.from_preset(two_block_preset, labels=("negative", "positive"), sequence_length=16)


def shake(model, name):
    draw = np.random.default_rng(3)
    for address, variable in addresses(model).items():
        if f"/{name}/" in address:
            variable.assign(ops.convert_to_numpy(variable) + draw.normal(0, 0.3, variable.shape))


def logits(classifier, texts):
    examples = classifier.preprocess(texts)
    return classifier(examples.features(np.arange(len(texts)), int(examples.lengths.max())), training=False).numpy()


@pytest.mark.by_default("lora")
@pytest.mark.parametrize("name", METHODS)
def test_it_starts_as_nothing_and_trains_little(name, classifier, reviews):
    before = logits(classifier, reviews[0][:9])
    classifier.apply(METHODS[name])
    np.testing.assert_allclose(logits(classifier, reviews[0][:9]), before, atol=1e-5)
    training = [address for address, weight in addresses(classifier).items() if weight.trainable]
    assert training and all(f"/{name}/" in address or address.startswith("head/") for address in training)
    classifier.compile(learning_rate=1e-2, run_eagerly=True)
    classifier.fit(*reviews, batch_size=20, verbose=0, epochs=1)
    assert np.abs(logits(classifier, reviews[0][:9]) - before).max() > 1e-3


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("methods", [METHODS, EVERYWHERE], ids=["default", "everywhere"])
def test_merged_saved_and_loaded_it_computes_the_same(name, methods, classifier, reviews, tmp_path):
    classifier.apply(methods[name])
    shake(classifier, name)
    expected = logits(classifier, reviews[0][:9])
    classifier.save_to_preset(tmp_path / "model")
    again = TextClassifier.from_preset(tmp_path / "model")
    np.testing.assert_allclose(logits(again, reviews[0][:9]), expected, atol=1e-6)
    clone = TextClassifier.from_config(classifier.get_config())
    assert list(addresses(clone)) == list(addresses(classifier))
    names = [address for address in addresses(classifier) if f"/{name}/" not in address]
    merge(again)
    assert list(addresses(again)) == names
    np.testing.assert_allclose(logits(again, reviews[0][:9]), expected, atol=1e-4)


@pytest.mark.parametrize("name", METHODS)
def test_its_file_holds_what_training_made(name, classifier, two_block_preset, reviews, tmp_path):
    base = {address: ops.convert_to_numpy(value) for address, value in addresses(classifier).items()}
    classifier.apply(METHODS[name])
    shake(classifier, name)
    expected = logits(classifier, reviews[0][:9])
    path = save_changes(classifier, tmp_path / "own.safetensors")
    other = TextClassifier.from_preset(two_block_preset, labels=("negative", "positive"), sequence_length=16)
    for address, value in addresses(other).items():
        value.assign(base[address])
    load_changes(other, path)
    np.testing.assert_allclose(logits(other, reviews[0][:9]), expected, atol=1e-6)
    with pytest.raises(TransformerError, match="it has no place for .*, or is changed there already"):
        load_changes(other, path)


@pytest.mark.parametrize("name", ["dora", "ia3"])
def test_what_cannot_be_unmerged_is_not_kept_merged(name, classifier):
    classifier.apply(METHODS[name])
    with pytest.raises(TransformerError, match=f"remove must be True for {name}, which cannot be unmerged; got False"):
        merge(classifier, remove=False)
    with pytest.raises(TransformerError, match="model must have merged LoRA; got one without"):
        unmerge(classifier)


def test_dora_is_a_magnitude_times_a_direction():
    layer = Projection(5, name="encoder_block_0")
    layer.build((None, 4))
    layer.bias.assign(np.arange(5.0))
    DoRA(2, alpha=4.0, targets="encoder_block_0", train="encoder_block_0/bias").apply(layer)
    np.testing.assert_allclose(
        layer.delta.magnitude, np.linalg.norm(ops.convert_to_numpy(layer.kernel), axis=0), rtol=1e-6
    )
    draw = np.random.default_rng(0)
    for variable in layer.delta.trainable_variables:
        variable.assign(draw.normal(size=variable.shape))
    x = draw.normal(size=(3, 4)).astype("float32")
    kernel, down, up = (ops.convert_to_numpy(v) for v in (layer.kernel, layer.delta.down, layer.delta.up))
    direction = kernel + 2.0 * down @ up
    direction /= np.linalg.norm(direction, axis=0)
    expected = x @ (ops.convert_to_numpy(layer.delta.magnitude) * direction) + np.arange(5.0)
    np.testing.assert_allclose(layer(x), expected, atol=1e-5)


@pytest.mark.parametrize("names", itertools.product(["", "lora", "dora", "output", "input"], repeat=2), ids=str)
def test_projections_of_one_input_are_changed_alike_together_and_alone(names):
    draw = np.random.default_rng(1)
    x = draw.normal(size=(2, 3, 4)).astype("float32")
    layers = []
    for number, name in enumerate(names):
        layer = Projection(3 + number, name=f"p{number}")
        layer.build((None, 4))
        if name in ("lora", "dora"):
            {"lora": LoRA, "dora": DoRA}[name](2, targets=layer.name, train=".*/bias").apply(layer)
        elif name:
            sides = {"output": {"outputs": layer.name, "inputs": ()}, "input": {"outputs": (), "inputs": layer.name}}
            IA3(**sides[name], train=".*/bias").apply(layer)
        for variable in layer.weights:
            variable.assign(draw.normal(size=variable.shape))
        layers.append(layer)
    expected = np.concatenate([ops.convert_to_numpy(layer(x)) for layer in layers], axis=-1)
    np.testing.assert_allclose(project_together(x, layers), expected, atol=1e-5)


@pytest.mark.parametrize("name", METHODS)
def test_a_functional_encoder_keeps_it_through_keras_own_files(name, tiny_config, tmp_path):
    from tftransformer.models.encoder import build_encoder

    encoder = build_encoder(tiny_config)
    METHODS[name].__class__(**{**vars(METHODS[name]), "train": ".*/bias"}).apply(encoder)
    shake(encoder, name)
    encoder.save(tmp_path / "encoder.keras")
    again = keras.saving.load_model(tmp_path / "encoder.keras")
    assert list(addresses(again)) == list(addresses(encoder))
    for address, value in addresses(again).items():
        np.testing.assert_array_equal(value, addresses(encoder)[address])
    assert len(sublayers_of(again, Projection)) == len(sublayers_of(encoder, Projection))
