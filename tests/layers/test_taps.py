"""Taps: what a layer shows, keeps out of the way, and goes on with."""

import keras
import numpy as np
import pytest
from keras import ops

from tftransformer.errors import TransformerError
from tftransformer.layers import EncoderBlock, tap, tapped


@pytest.fixture
def block():
    layer = EncoderBlock(num_heads=2, intermediate_dim=8, dropout=0.5, name="encoder_block_0")
    layer.build((None, None, 4))
    return layer


X = np.random.default_rng(0).normal(size=(2, 3, 4)).astype("float32")


def test_every_sublayer_shows_what_it_returns(block):
    with tapped(".*") as taps:
        y = block(X, padding_mask=np.ones((2, 3)))
    assert list(taps.values)[:3] == [f"encoder_block_0/attention/{name}" for name in ("scores", "heads", "output")]
    assert {"encoder_block_0/attention", "encoder_block_0/feed_forward", "encoder_block_0"} < set(taps.values)
    np.testing.assert_array_equal(taps["encoder_block_0"], y)
    np.testing.assert_array_equal(taps["encoder_block_0/attention/scores"], block(X, return_attention_scores=True)[1])
    assert taps["encoder_block_0/attention/heads"].shape == (2, 2, 3, 2)


def test_nobody_listens_outside(block):
    with tapped("encoder_block_0") as taps:
        pass
    y = block(X)
    assert not taps.values and tap("anything", y) is y
    with pytest.raises(TransformerError, match="tap 'encoder_block_0' was not seen; 0 were"):
        taps["encoder_block_0"]
    assert "call" not in vars(block)


def test_a_change_is_what_the_network_goes_on_with(block):
    plain = ops.convert_to_numpy(block(X))
    silent = {"encoder_block_0/(attention|feed_forward)": lambda name, value: value * 0.0}
    with tapped("encoder_block_0", change=silent) as taps:
        changed = ops.convert_to_numpy(block(X))
    norms = (block.attention_norm, block.feed_forward_norm)
    np.testing.assert_allclose(changed, norms[1](norms[0](X)), atol=1e-6)
    assert np.abs(changed - plain).max() > 1e-3
    np.testing.assert_array_equal(taps["encoder_block_0"], changed)


def test_taps_of_a_traced_function_belong_to_its_trace(block):
    import tensorflow as tf

    @tf.function
    def run(x):
        with tapped("encoder_block_0/feed_forward") as taps:
            block(x)
        return taps["encoder_block_0/feed_forward"]

    with tapped("encoder_block_0/feed_forward") as taps:
        block(X)
    np.testing.assert_allclose(run(X), taps["encoder_block_0/feed_forward"], atol=1e-6)


def test_taps_are_outputs_of_a_functional_model(block):
    inputs = keras.Input((None, 4))
    with tapped("encoder_block_0") as taps:
        output = block(inputs)
    assert keras.Model(inputs, [taps["encoder_block_0"], output])(X)[0].shape == (2, 3, 4)


def test_inner_listeners_hide_outer_ones(block):
    with tapped("encoder_block_0") as outer:
        with tapped("encoder_block_0") as inner:
            block(X)
        assert not outer.values and inner.values
        block(X)
    assert outer.values


def test_a_wrong_pattern_or_name_is_refused(block):
    with pytest.raises(TransformerError, match=r"taps: '\(' is not a regular expression"), tapped("("):
        pass
    with tapped(".*") as taps:
        block(X)
    with pytest.raises(TransformerError, match="was not seen; .*did you mean 'encoder_block_0/attention'"):
        taps["encoder_block_0/atention"]
