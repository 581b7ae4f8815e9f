"""Freezing: what is frozen stays bit-equal, holds no slots, drops nothing out; and the errors."""

import re

import keras
import numpy as np
import pytest

from tftransformer.errors import TransformerError
from tftransformer.finetuning import AdamW, freeze, frozen_addresses, unfreeze
from tftransformer.patterns import addresses


def values(model):
    return {name: np.asarray(keras.ops.convert_to_numpy(v)) for name, v in addresses(model).items()}


def fit(small, model, run_eagerly=False):
    model.compile(AdamW(0.05, weight_decay=0.1), small.loss(), jit_compile=False, run_eagerly=run_eagerly)
    model.fit(*small.data(), batch_size=16, epochs=2, verbose=0)


@pytest.fixture(params=["functional", "task"])
def model(request, small):
    if request.param == "functional":
        return small.build_model()
    task = small.Task(name="classifier")
    task(small.data()[0])
    return task


def test_frozen_weights_are_bit_equal_and_hold_no_slots(small, model):
    summary = freeze(model, layers=2)
    assert summary.frozen_layers == ("embeddings", "encoder_block_0", "encoder_block_1")
    before = values(model)
    fit(small, model)
    frozen = set(frozen_addresses(model))
    assert {name.split("/")[0] for name in frozen} == set(summary.frozen_layers)
    for name, value in values(model).items():
        if name in frozen:
            np.testing.assert_array_equal(value, before[name])
        elif name.split("/")[0] != "extra_block_0":
            assert np.abs(value - before[name]).max() > 1e-3, name
    slots = [variable.path for variable in model.optimizer.variables]
    assert not any("encoder_block_0" in path or "encoder_block_1" in path for path in slots)
    assert len(model.optimizer._momentums) == len(model.trainable_variables)


def test_extra_blocks_are_not_counted(small):
    model = small.build_model(blocks=2, extra=2)
    summary = freeze(model, layers=2)
    assert not any("extra" in name for name in summary.frozen_layers)
    with pytest.raises(TransformerError, match="layers must be between 0 and 2, the number of blocks; got 3"):
        freeze(model, layers=3)


def test_summary_counts_parameters(small):
    model = small.build_model(blocks=3, extra=0, width=6)
    summary = freeze(model, layers=2)
    kernel, norm, head = 6 * 6 + 6, 12, 6 * 3 + 3
    assert summary.total_parameters == 11 * 6 + 3 * (kernel + norm) + head
    assert summary.trainable_parameters == kernel + 3 * norm + head
    assert str(summary) == (
        "frozen: embeddings, encoder_block_0 to encoder_block_1\n"
        f"training: {summary.trainable_parameters} of {summary.total_parameters} parameters "
        f"({100 * summary.trainable_parameters / summary.total_parameters:.1f} %)"
    )


def test_layers_zero_freezes_the_embeddings_alone(small):
    model = small.build_model()
    assert freeze(model, layers=0).frozen_layers == ("embeddings",)
    unfreeze(model)
    assert freeze(model, layers=0, embeddings=False).frozen_layers == ()
    assert freeze(model, layers=1, embeddings=False).frozen_layers == ("encoder_block_0",)


def test_single_weights_by_pattern(small, model):
    summary = freeze(model, patterns=["encoder_block_1/bias", "head/.*"])
    assert summary.frozen_weights == ("encoder_block_1/bias",)
    assert summary.frozen_layers == ("head",)
    assert "frozen weights in layers that train: encoder_block_1/bias" in str(summary)
    before = values(model)
    fit(small, model, run_eagerly=True)
    after = values(model)
    assert set(frozen_addresses(model)) == {"encoder_block_1/bias", "head/kernel", "head/bias"}
    for name in before:
        moved = np.abs(after[name] - before[name]).max() > 1e-3
        assert moved == (name not in frozen_addresses(model)) or name.startswith("extra_block"), name


def test_a_pattern_may_name_a_layer(small):
    assert freeze(small.build_model(), patterns=r"norm_\d").frozen_layers == ("norm_0", "norm_1", "norm_2")


def test_what_was_frozen_stays_frozen_and_unfreeze_undoes(small):
    model = small.build_model()
    everything = len(model.trainable_variables)
    freeze(model, layers=1)
    assert freeze(model, patterns="head/bias").frozen_layers == ("embeddings", "encoder_block_0")
    summary = unfreeze(model, patterns="encoder_block_0/kernel")
    assert summary.frozen_weights == ("encoder_block_0/bias", "head/bias")
    assert model.get_layer("encoder_block_0").trainable
    unfreeze(model)
    assert len(model.trainable_variables) == everything
    assert frozen_addresses(model) == ()


def test_frozen_addresses_freeze_another_model_alike(small):
    model, other = small.build_model(), small.build_model()
    summary = freeze(model, layers=2, patterns="head/bias")
    again = freeze(other, patterns=[re.escape(name) for name in frozen_addresses(model)])
    assert again == summary
    for layer, original in zip(other.layers[1:4], model.layers[1:4]):
        assert layer.trainable == original.trainable


def test_freezing_before_the_first_fit_needs_no_second_compile(small):
    model = small.build_model()
    model.compile(AdamW(0.05), small.loss(), jit_compile=False)
    assert not freeze(model, layers=1).needs_compile
    before = values(model)["encoder_block_0/kernel"]
    model.fit(*small.data(), verbose=0, epochs=1)
    np.testing.assert_array_equal(values(model)["encoder_block_0/kernel"], before)


@pytest.mark.slow  # by default test_freshness.py asks a task the same
@pytest.mark.parametrize("change", [lambda m: freeze(m, layers=1), unfreeze])
def test_a_change_after_fit_cannot_go_unnoticed(small, change):
    model = small.build_model()
    freeze(model, patterns="encoder_block_2/.*")
    fit(small, model)
    summary = change(model)
    assert summary.needs_compile
    assert "call compile() again" in str(summary)
    with pytest.raises(ValueError, match="compile"):
        model.fit(*small.data(), verbose=0, epochs=1)
    before = values(model)
    fit(small, model)
    for name in frozen_addresses(model):
        np.testing.assert_array_equal(values(model)[name], before[name])
    assert np.abs(values(model)["head/kernel"] - before["head/kernel"]).max() > 0


def test_freezing_nothing_new_leaves_the_model_compiled(small):
    model = small.build_model()
    freeze(model, layers=1)
    fit(small, model, run_eagerly=True)
    assert not freeze(model, layers=1).needs_compile
    model.fit(*small.data(), verbose=0, epochs=1)


def test_frozen_blocks_run_without_dropout():
    layers = pytest.importorskip("tftransformer.layers")
    keras.utils.set_random_seed(0)
    x = keras.Input((5, 8))
    hidden = layers.EncoderBlock(2, 16, dropout=0.5, attention_dropout=0.5, name="encoder_block_0")(x)
    hidden = layers.EncoderBlock(2, 16, dropout=0.5, attention_dropout=0.5, name="encoder_block_1")(hidden)
    model = keras.Model(x, hidden)
    block = keras.Model(x, model.get_layer("encoder_block_0").output)
    rows = np.random.default_rng(0).normal(size=(3, 5, 8)).astype("float32")

    def noise(part):
        calls = [keras.ops.convert_to_numpy(part(rows, training=mode)) for mode in (True, True, False)]
        return np.abs(calls[0] - calls[1]).max() > 1e-3, np.abs(calls[0] - calls[2]).max() > 1e-3

    assert noise(block) == (True, True)
    freeze(model, layers=1, embeddings=False)
    assert noise(block) == (False, False)
    assert noise(model) == (True, True), "the block above trains, with dropout"


def test_a_reloaded_model_can_be_frozen_again(tmp_path):
    # Keras restores the switch of a layer and not those of the layers inside.
    layers = pytest.importorskip("tftransformer.layers")
    x = keras.Input((5, 8))
    model = keras.Model(x, layers.EncoderBlock(2, 16, name="encoder_block_0")(x))
    freeze(model, layers=1, embeddings=False)
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    assert freeze(again, layers=1, embeddings=False) == freeze(model, layers=1, embeddings=False)
    assert again.trainable_variables == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "freeze needs layers, the number of blocks to freeze, or patterns; got none"),
        ({"layers": 4}, "layers must be between 0 and 3, the number of blocks; got 4"),
        ({"layers": -1}, "layers must be between 0 and 3, the number of blocks; got -1"),
        ({"layers": 1.5}, "layers must be a whole number of blocks; got 1.5"),
        ({"layers": True}, "layers must be a whole number of blocks; got True"),
        ({"layers": "all"}, "layers must be a whole number of blocks; got 'all'"),
        ({"patterns": "encoder_blok_0"}, "'encoder_blok_0' matches none .*did you mean 'encoder_block_0'"),
        ({"patterns": "encoder_block_0/"}, "matches none"),
        ({"patterns": "("}, "is not a regular expression"),
    ],
)
def test_bad_arguments(small, arguments, message):
    model = small.build_model()
    with pytest.raises(TransformerError, match=message) as caught:
        freeze(model, **arguments)
    assert "\n" not in str(caught.value)
    assert frozen_addresses(model) == (), "a refused call freezes nothing"


def test_models_that_cannot_be_frozen():
    x = keras.Input((3,))
    model = keras.Model(x, keras.layers.Dense(2, name="encoder_block_0")(x))
    with pytest.raises(TransformerError, match="layer 'embeddings'"):
        freeze(model, layers=1)
    with pytest.raises(TransformerError, match="model must be built"):
        freeze(keras.Sequential([keras.layers.Dense(2)]), layers=0)
