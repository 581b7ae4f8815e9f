"""Rates that fall from block to block, and what lies where in a model."""

import keras
import numpy as np
import pytest

from tftransformer.errors import TransformerError
from tftransformer.finetuning import SGD, AdamW, build_optimizer, freeze
from tftransformer.finetuning.depth import layers_by_depth
from tftransformer.finetuning.methods import LayerwiseRates
from tftransformer.patterns import addresses


@pytest.mark.parametrize("make", [lambda small: small.build_model(), lambda small: small.Task()])
def test_layers_are_sorted_by_depth_whatever_wraps_them(small, make):
    model = make(small)
    model(small.data()[0])
    depths = layers_by_depth(model)
    assert depths.above == ("norm_2", "extra_block_0", "head")
    assert depths.blocks == (("encoder_block_2",), ("encoder_block_1", "norm_1"), ("encoder_block_0", "norm_0"))
    assert depths.below == ("embeddings",)


def test_each_block_has_the_rate_of_the_one_above_times_the_decay(small):
    model = small.build_model()
    factors = LayerwiseRates(0.5, head=4.0).multipliers(model)
    start = {name: np.array(v) for name, v in addresses(model).items()}
    optimizer = SGD(0.1, rate_multipliers=factors)
    optimizer.apply_gradients([(keras.ops.ones(v.shape), v) for v in model.trainable_variables])
    moved = {name: float(np.mean(start[name] - np.array(v))) for name, v in addresses(model).items()}
    expected = {"head": 4.0, "norm_2": 4.0, "encoder_block_2": 1.0, "encoder_block_1": 0.5, "norm_0": 0.25}
    for layer, factor in {**expected, "encoder_block_0": 0.25, "embeddings": 0.125}.items():
        for name in moved:
            if name.split("/")[0] == layer:
                assert moved[name] == pytest.approx(0.1 * factor, rel=1e-4), name


def test_decay_of_one_is_plain(small):
    def run(multipliers):
        model = small.build_model(blocks=2)
        factors = LayerwiseRates(1.0).multipliers(model) if multipliers else None
        model.compile(AdamW(1e-2, rate_multipliers=factors), small.loss(), run_eagerly=True)
        model.fit(*small.data(rows=16), batch_size=8, shuffle=False, verbose=0, epochs=1)
        return model.get_weights()

    for plain, layerwise in zip(run(False), run(True)):
        np.testing.assert_array_equal(layerwise, plain)


def test_one_clip_of_the_whole_gradient(small):
    model = small.build_model(blocks=2)
    start = [np.array(v) for v in model.trainable_variables]
    factors = LayerwiseRates(0.5).multipliers(model)
    optimizer = SGD(1.0, rate_multipliers=factors, global_clipnorm=1.0)
    optimizer.apply_gradients([(5.0 * keras.ops.ones(v.shape), v) for v in model.trainable_variables])
    moved = [
        (before - np.array(v)) / f for before, v, f in zip(start, model.trainable_variables, optimizer._rate_factors)
    ]
    assert np.linalg.norm(np.concatenate([m.ravel() for m in moved])) == pytest.approx(1.0, rel=1e-4)


def test_what_is_frozen_has_no_factor(small):
    model = small.build_model()
    freeze(model, layers=1)
    factors = LayerwiseRates().multipliers(model)
    assert not {"embeddings/.*", "encoder_block_0/.*"} & set(factors) and "encoder_block_1/.*" in factors
    AdamW(rate_multipliers=factors).build(model.trainable_variables)


def test_fresh_weights_keep_their_own_rate_and_share_the_decay(small):
    model = small.build_model()
    fresh = ["head/kernel", "encoder_block_1/kernel"]
    optimizer = build_optimizer(
        fresh=fresh, fresh_multiplier=10.0, rate_multipliers=LayerwiseRates(0.5).multipliers(model)
    )
    optimizer.build(model.trainable_variables)
    factors = dict(zip((v.path for v in model.trainable_variables), optimizer._rate_factors))
    assert factors["head/kernel"] == 10.0 and factors["head/bias"] == 1.0
    assert factors["encoder_block_1/kernel"] == 5.0 and factors["encoder_block_1/bias"] == 0.5


@pytest.mark.parametrize("decay", [0, -0.5, 1.5, "fast", float("nan")])
def test_bad_decay(decay):
    with pytest.raises(TransformerError, match="decay must be .*; got") as caught:
        LayerwiseRates(decay)
    assert "\n" not in str(caught.value)


def test_bad_head_and_models_without_blocks(small):
    with pytest.raises(TransformerError, match="head must be positive; got 0"):
        LayerwiseRates(head=0)
    with pytest.raises(TransformerError, match="must have blocks called encoder_block_0"):
        LayerwiseRates().multipliers(small.build_model(blocks=0))
