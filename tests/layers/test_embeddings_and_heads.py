"""Embeddings, pooling, heads and the projection, against numpy."""

import keras
import numpy as np
import pytest

from tftransformer.layers import (
    ClassificationHead,
    CLSPooling,
    FeedForward,
    LearnedPosition,
    MaxPooling,
    MeanPooling,
    Projection,
    TokenEmbedding,
    TransformerEmbedding,
)

IDS = np.array([[3, 5, 1], [2, 2, 8]])
SEGMENTS = np.array([[0, 0, 1], [0, 1, 1]])


def hidden(length=4, width=6, seed=0):
    return np.random.default_rng(seed).normal(size=(2, length, width)).astype("float32")


def randomise(layer):
    rng = np.random.default_rng(3)
    for variable in layer.weights:
        variable.assign(rng.normal(size=variable.shape))


def test_embeddings_sum_scale_and_normalise():
    layer = TransformerEmbedding(9, 6, sequence_length=8, num_segments=2, scale=True, layer_norm_epsilon=1e-5)
    layer.build((None, None))
    randomise(layer)
    token, position, segment, norm = layer.token, layer.position, layer.segment, layer.norm
    table, rows, kinds = (np.array(part.embeddings) for part in (token, position, segment))
    x = table[IDS] * np.sqrt(6) + rows[:3] + kinds[SEGMENTS]
    y = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)
    y = y * np.array(norm.gamma) + np.array(norm.beta)
    np.testing.assert_allclose(layer(IDS, segment_ids=SEGMENTS), y, atol=1e-4)
    np.testing.assert_allclose(layer(IDS), layer(IDS, segment_ids=SEGMENTS * 0), atol=1e-5)


def test_the_tied_output_is_the_table_transposed():
    layer = TransformerEmbedding(9, 6)
    layer.build((None, None))
    randomise(layer)
    expected = hidden() @ np.array(layer.token.embeddings).T
    np.testing.assert_allclose(layer(hidden(), reverse=True), expected, atol=1e-5)
    np.testing.assert_allclose(layer.token.logits(hidden()), expected, atol=1e-5)
    inputs = keras.Input((None, 6))
    assert layer(inputs, reverse=True).shape == (None, None, 9)


def test_embeddings_run_without_dropout_while_frozen():
    layer = TransformerEmbedding(9, 6, dropout=0.5)
    still = np.array(layer(IDS))
    assert np.abs(np.array(layer(IDS, training=True)) - still).max() > 0.1
    layer.trainable = False
    np.testing.assert_array_equal(layer(IDS, training=True), still)


def test_token_embeddings_keep_their_mask_in_the_config():
    layer = TokenEmbedding(9, 6, mask_zero=True)
    copy = TokenEmbedding.from_config(layer.get_config())
    assert copy.get_config() == layer.get_config() and copy.mask_zero


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
def test_pooling_counts_real_tokens_alone(policy):
    x, mask = hidden(), np.array([[1, 1, 0, 0], [0, 0, 0, 0]])
    mean = np.array(keras.ops.cast(MeanPooling(dtype=policy)(x, padding_mask=mask), "float32"))
    highest = np.array(keras.ops.cast(MaxPooling(dtype=policy)(x, padding_mask=mask), "float32"))
    atol = 1e-6 if policy == "float32" else 0.02
    np.testing.assert_allclose(mean, [x[0, :2].mean(0), np.zeros(6)], atol=atol)
    np.testing.assert_allclose(highest, [x[0, :2].max(0), np.zeros(6)], atol=atol)
    np.testing.assert_allclose(MeanPooling()(x), x.mean(1), atol=1e-6)


def test_the_mean_of_a_long_text_is_exact_in_half_precision():
    x = np.ones((1, 5000, 2), "float32")
    assert np.array(MeanPooling(dtype="float16")(x)).tolist() == [[1.0, 1.0]]


def test_cls_pooling_is_berts():
    layer = CLSPooling()
    layer.build((None, None, 6))
    randomise(layer)
    kernel, bias = (np.array(w) for w in layer.weights)
    np.testing.assert_allclose(layer(hidden()), np.tanh(hidden()[:, 0] @ kernel + bias), atol=1e-5)
    np.testing.assert_array_equal(CLSPooling(dense=False)(hidden()), hidden()[:, 0])


def test_logits_are_float32_under_every_policy():
    for policy in ("float32", "mixed_float16", "bfloat16"):
        assert ClassificationHead(3, dtype=policy)(hidden()[:, 0]).dtype == "float32"


@pytest.mark.parametrize("shape", [(2, 6), (2, 3, 6), (2, 3, 4, 6)])
def test_a_projection_is_a_product_over_the_last_axis(shape):
    layer, x = Projection(5), np.random.default_rng(0).normal(size=shape).astype("float32")
    layer.build(shape)
    randomise(layer)
    kernel, bias = (np.array(w) for w in layer.weights)
    np.testing.assert_allclose(layer(x), x @ kernel + bias, atol=1e-5)
    assert Projection(5, use_bias=False)(x).shape == (*shape[:-1], 5)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Projection(5, use_bias=False, kernel_initializer="he_normal"),
        lambda: FeedForward(8, "silu", True, False),
        lambda: TransformerEmbedding(9, 6, 7, "sinusoidal", 3, None, True, 0.2, 1e-3, trainable=False),
        lambda: TokenEmbedding(9, 6, initializer="uniform"),
        lambda: LearnedPosition(7, initializer="uniform"),
        lambda: CLSPooling(dense=False),
        lambda: MeanPooling(dtype="mixed_bfloat16"),
        lambda: MaxPooling(),
        lambda: ClassificationHead(3, 0.3),
    ],
)
def test_configs_round_trip(make):
    layer = make()
    copy = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
    assert type(copy) is type(layer) and copy.get_config() == layer.get_config()
