"""The law of plain Keras models: what was put in, and what is frozen, survives saving, loading and cloning."""

import json

import keras
import numpy as np
import pytest

from tftransformer.errors import TransformerError
from tftransformer.finetuning.freezing import freeze, train_only
from tftransformer.finetuning.methods import Adapter, LoRA, Prefix
from tftransformer.finetuning.methods.adapter import set_adapter
from tftransformer.finetuning.projection_deltas import merge
from tftransformer.layers import CLSPooling, EncoderBlock, MultiHeadAttention, Projection
from tftransformer.models import build_decoder, build_encoder
from tftransformer.patterns import addresses

IDS = {
    "token_ids": np.random.default_rng(0).integers(1, 40, (3, 6)),
    "segment_ids": np.zeros((3, 6), "int32"),
    "padding_mask": np.array([[1] * 6, [1] * 4 + [0] * 2, [1, 1] + [0] * 4]),
}


def two_adapters(model):
    # The first makes one slot a block, the second the other one as well: their order is not that of the blocks.
    Adapter(adapter="first", bottleneck_dim=2).apply(model)
    Adapter(adapter="second", bottleneck_dim=3, kind="houlsby", activation="gelu").apply(model)
    set_adapter(model, "first")


def merged_lora(model):
    LoRA(rank=2).apply(model)
    shake(model)
    merge(model, remove=False)


def everything(model):
    LoRA(rank=2, alpha=5.0, targets=".*/(attention|feed_forward)/.*").apply(model)
    two_adapters(model)
    Prefix(length=2).apply(model)


PUT_IN = {
    "lora": lambda model: LoRA(rank=2, dropout=0.1).apply(model),
    "merged": merged_lora,
    "adapters": two_adapters,
    "prefix": lambda model: Prefix(length=3).apply(model),
    "everything": everything,
    "bitfit": lambda model: train_only(model, [r".*/(bias|beta)", "head/.*"]),
    "freeze": lambda model: freeze(model, layers=1),
}


def from_keras_file(model, folder):
    model.save(folder / "model.keras")
    return keras.models.load_model(folder / "model.keras")


def from_weights(model, folder):
    model.save_weights(folder / "model.weights.h5")
    loaded = build(model.num_blocks)
    loaded.load_weights(folder / "model.weights.h5")
    return loaded


def cloned(model, folder):
    clone = keras.models.clone_model(model)
    clone.set_weights(model.get_weights())
    return clone


WAYS = {"save": from_keras_file, "save_weights": from_weights, "clone_model": cloned}
SOME = {
    ("everything", "save"), ("everything", "save_weights"), ("everything", "clone_model"), ("merged", "save_weights"),
    ("bitfit", "save"), ("freeze", "save"),
}  # fmt: skip


def build(blocks=2):
    from tftransformer.config import TransformerConfig

    config = TransformerConfig(
        vocabulary_size=40, num_layers=blocks, hidden_dim=8, num_heads=2, intermediate_dim=12, max_sequence_length=8
    )
    encoder = build_encoder(config)
    x = CLSPooling(name="pooler")(encoder.output)
    model = keras.Model(encoder.inputs, keras.layers.Dense(3, name="head")(x))
    model.num_blocks = blocks
    return model


def shake(model, seed=1):
    draw = np.random.default_rng(seed)
    for variable in addresses(model).values():
        variable.assign(draw.normal(0, 0.4, variable.shape))


def training(model):
    return {name for name, variable in addresses(model).items() if variable.trainable}


@pytest.mark.parametrize(
    ("kind", "way"),
    [pytest.param(kind, way, marks=() if (kind, way) in SOME else pytest.mark.slow) for kind in PUT_IN for way in WAYS],
)
def test_what_was_put_in_survives(kind, way, tmp_path):
    model = build()
    PUT_IN[kind](model)
    if kind != "merged":
        shake(model)
    expected = keras.ops.convert_to_numpy(model(IDS))
    kept = WAYS[way](model, tmp_path)
    assert list(addresses(kept)) == list(addresses(model))
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(kept(IDS)), expected)
    if way != "save_weights":  # a file of weights says nothing of what trains
        assert training(kept) == training(model)
        assert [layer.trainable for layer in kept.layers] == [layer.trainable for layer in model.layers]
    # And once more: what was read is as good as what was put in.
    again = cloned(kept, tmp_path)
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(again(IDS)), expected)


def test_a_compiled_model_goes_on_training_the_same_weights(tmp_path):
    model = build(1)
    LoRA(rank=2).apply(model)
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True), run_eagerly=True)
    model.fit(IDS, np.array([0, 1, 2]), verbose=0, epochs=1)
    loaded = from_keras_file(model, tmp_path)
    assert len(loaded.optimizer.variables) == len(model.optimizer.variables)
    for each in (model, loaded):
        each.fit(IDS, np.array([0, 1, 2]), verbose=0, epochs=1)
    for name, variable in addresses(model).items():
        # Read from a file, the model trains in a graph, which rounds in another order.
        np.testing.assert_allclose(variable.numpy(), addresses(loaded)[name].numpy(), atol=1e-6, err_msg=name)


def test_a_decoder_keeps_its_parts_as_well(tmp_path):
    from tftransformer.config import TransformerConfig

    config = TransformerConfig(
        "gpt2", vocabulary_size=40, num_layers=1, hidden_dim=8, num_heads=2, intermediate_dim=12, max_sequence_length=8
    )  # fmt: skip
    model = build_decoder(config)
    everything(model)
    shake(model)
    ids = {tensor.name: IDS[tensor.name] for tensor in model.inputs}
    expected = keras.ops.convert_to_numpy(model(ids))
    for way in (from_keras_file, cloned):
        np.testing.assert_array_equal(keras.ops.convert_to_numpy(way(model, tmp_path)(ids)), expected)


@pytest.mark.parametrize("make", [lambda: Projection(4), lambda: MultiHeadAttention(2), lambda: EncoderBlock(2, 8)])
def test_layers_that_stand_alone_keep_theirs(make, tmp_path):
    x = keras.Input((5, 4))
    model = keras.Model(x, make()(x))
    LoRA(rank=1, targets=".*").apply(model)
    shake(model)
    values = np.random.default_rng(0).normal(size=(2, 5, 4)).astype("float32")
    expected = model.predict(values, verbose=0)
    for way in (from_keras_file, cloned):
        np.testing.assert_array_equal(way(model, tmp_path).predict(values, verbose=0), expected)


def test_weights_of_another_structure_are_refused_once_a_graph_exists(tmp_path):
    with_lora, without = build(1), build(1)
    LoRA(rank=2).apply(with_lora)
    shake(with_lora)
    with_lora.save_weights(tmp_path / "lora.weights.h5")
    before = without.predict(IDS, verbose=0)
    with pytest.raises((TransformerError, ValueError), match="were saved with 'lora' in it, and this model has run"):
        without.load_weights(tmp_path / "lora.weights.h5")
    assert not any("lora" in name for name in addresses(without))
    assert before.shape == without.predict(IDS, verbose=0).shape
    # What the model has and the file has not, Keras refuses.
    build(1).save_weights(tmp_path / "plain.weights.h5")
    with pytest.raises(ValueError, match="expected 2 variables, but received 0"):
        with_lora.load_weights(tmp_path / "plain.weights.h5")


def test_weights_bring_the_settings_of_what_they_are_for(tmp_path):
    one, other = build(1), build(1)
    LoRA(rank=2, alpha=8.0).apply(one)
    LoRA(rank=2, alpha=2.0).apply(other)
    shake(one)
    one.save_weights(tmp_path / "one.weights.h5")
    other.load_weights(tmp_path / "one.weights.h5")
    np.testing.assert_array_equal(other(IDS).numpy(), one(IDS).numpy())


def test_a_model_without_parts_says_nothing_of_them():
    config = build(1).get_layer("encoder_block_0").get_config()
    assert not {"inserted", "frozen"} & set(config)
    json.dumps(config)
