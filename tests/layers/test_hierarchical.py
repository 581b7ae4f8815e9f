"""Attention with a learned query: against NumPy, and its laws."""

import keras
import numpy as np
import pytest
from keras import ops

from tftransformer.errors import TransformerError
from tftransformer.layers.hierarchical import AttentionPooling, attend


@pytest.fixture
def drawn():
    return np.random.default_rng(0)


@pytest.fixture
def layer(drawn):
    layer = AttentionPooling(attention_dim=5)
    layer.build((None, None, 8))
    for variable in layer.weights:
        variable.assign(drawn.normal(size=variable.shape))
    return layer


def test_it_computes_the_papers_formula(layer, drawn):
    x = drawn.normal(size=(3, 4, 8)).astype("float32")
    mask = np.array([[1, 1, 1, 1], [1, 0, 1, 0], [0, 0, 0, 0]])
    weights = {variable.path.split("/", 1)[-1]: np.asarray(variable) for variable in layer.weights}
    seen = np.tanh(x @ weights["projection/kernel"] + weights["projection/bias"])
    scores = np.exp(seen @ weights["query"]) * mask
    expected = scores / np.maximum(scores.sum(1, keepdims=True), 1e-30)
    mean, found = layer(x, padding_mask=mask, return_attention_scores=True)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    np.testing.assert_allclose(mean, np.einsum("bs,bsd->bd", expected, x), atol=1e-5)
    assert np.ptp(found[0]) > 0.05 and np.all(np.asarray(mean)[2] == 0)


def test_one_vector_comes_out_as_it_went_in(layer, drawn):
    x = drawn.normal(size=(2, 3, 8)).astype("float32")
    np.testing.assert_array_equal(layer(x[:, :1]), x[:, 0])
    np.testing.assert_array_equal(layer(x, padding_mask=[[0, 1, 0], [0, 0, 1]]), x[[0, 1], [1, 2]])


def test_padding_and_order_mean_nothing(layer, drawn):
    x = drawn.normal(size=(2, 3, 8)).astype("float32")
    expected = layer(x)
    longer = np.concatenate([x, drawn.normal(size=(2, 2, 8)).astype("float32") * 100], axis=1)
    np.testing.assert_allclose(layer(longer, padding_mask=[[1, 1, 1, 0, 0]] * 2), expected, atol=1e-6)
    np.testing.assert_allclose(layer(x[:, [2, 0, 1]]), expected, atol=1e-6)


def test_a_keras_mask_counts_too(layer, drawn):
    ids = np.array([[3, 4, 0], [5, 0, 0]])
    embedded = keras.layers.Embedding(9, 8, mask_zero=True)(ids)
    np.testing.assert_allclose(layer(embedded), layer(ops.copy(embedded), padding_mask=ids > 0), atol=1e-6)


def test_it_stands_in_a_functional_model_in_half_precision_and_comes_back(drawn):
    inputs = keras.Input((None, 8))
    layer = AttentionPooling(dtype="mixed_bfloat16")
    mean, weights = layer(inputs, return_attention_scores=True)
    assert (mean.dtype, weights.dtype) == ("bfloat16", "float32") and mean.shape == (None, 8)
    model = keras.Model(inputs, [mean, weights])
    copy = keras.Model.from_config(model.get_config())
    copy.set_weights(model.get_weights())
    x = drawn.normal(size=(2, 3, 8)).astype("float32")
    for ours, theirs in zip(model(x), copy(x)):
        np.testing.assert_array_equal(ops.cast(ours, "float32"), ops.cast(theirs, "float32"))


def test_attend_without_a_mask_takes_all():
    mean, weights = attend(ops.ones((1, 2, 4)), ops.zeros((1, 2)))
    np.testing.assert_array_equal(weights, [[0.5, 0.5]])
    np.testing.assert_array_equal(mean, np.ones((1, 4)))


@pytest.mark.parametrize("attention_dim", [0, -1, True, 2.0])
def test_a_width_that_is_none_is_named(attention_dim):
    with pytest.raises(TransformerError, match="attention_dim must be a positive integer; got"):
        AttentionPooling(attention_dim)
