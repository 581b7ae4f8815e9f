"""What attention and the blocks do at the edges: empty rows, Keras masks, dtypes, frozen dropout, bad arguments."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tftransformer.errors import TransformerError
from tftransformer.layers import (
    DecoderBlock,
    EncoderBlock,
    FeedForward,
    MaxPooling,
    MeanPooling,
    MultiHeadAttention,
    RelativePosition,
    RotaryPosition,
    TokenEmbedding,
)

POLICIES = ["float32", "mixed_bfloat16", "mixed_float16", "bfloat16", "float16"]


def hidden(length=6, width=16, batch=2, seed=0):
    return np.random.default_rng(seed).normal(size=(batch, length, width)).astype("float32")


def noisy_biases(layer):
    for variable in layer.weights:
        if variable.path.endswith("bias"):
            variable.assign(keras.ops.ones(variable.shape) * 0.5)


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("position", [None, RotaryPosition, RelativePosition])
def test_a_row_with_every_key_masked_gives_zeros_in_outputs_and_gradients(policy, position):
    layer = MultiHeadAttention(4, position=position and position(), dtype=policy)
    x = tf.constant(hidden())
    layer(x)
    noisy_biases(layer)
    with tf.GradientTape() as tape:
        tape.watch(x)
        y, scores = layer(x, padding_mask=[[0] * 6, [1] * 4 + [0] * 2], return_attention_scores=True)
        loss = tf.reduce_sum(tf.cast(y, "float32")[0] ** 2 + tf.cast(y, "float32")[0])
    assert y.dtype == layer.compute_dtype
    assert np.all(np.array(tf.cast(y, "float32"))[0] == 0)
    assert np.all(np.array(tf.cast(scores, "float32"))[0] == 0)
    assert np.all(np.isfinite(tf.cast(y, "float32"))) and np.any(np.array(tf.cast(y, "float32"))[1] != 0)
    gradients = tape.gradient(loss, [x, *[v.value for v in layer.trainable_variables]])
    for gradient in gradients:
        assert gradient is None or np.all(np.array(tf.cast(tf.convert_to_tensor(gradient), "float32")) == 0)


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("normalize_first", [False, True])
def test_a_block_stays_finite_where_a_row_is_all_padding(policy, normalize_first):
    layer = EncoderBlock(4, 32, normalize_first=normalize_first, layer_norm_epsilon=1e-5, dtype=policy)
    x = tf.constant(hidden() * 30)
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = layer(x, padding_mask=[[0] * 6, [1] * 6])
        loss = tf.reduce_sum(tf.cast(y, "float32"))
    assert np.all(np.isfinite(tf.cast(y, "float32")))
    assert np.all(np.isfinite(tape.gradient(loss, x)))


def test_one_masked_row_of_a_pair_mask_gives_zeros_there_alone():
    layer = MultiHeadAttention(2)
    mask = np.ones((2, 6, 6), bool)
    mask[1, 3] = False
    layer(hidden())
    noisy_biases(layer)
    y = np.array(layer(hidden(), attention_mask=mask))
    np.testing.assert_array_equal(y[1, 3], 0)
    np.testing.assert_allclose(np.delete(y[1], 3, 0), np.delete(np.array(layer(hidden()))[1], 3, 0), atol=1e-6)


@pytest.mark.parametrize("how", ["eager", "graph", "functional", "merged"])
@pytest.mark.parametrize(
    "make", [lambda: EncoderBlock(2, 32), lambda: MultiHeadAttention(2), lambda: DecoderBlock(2, 32)]
)
def test_a_keras_mask_counts_as_padding(make, how):
    embedding, layer = TokenEmbedding(20, 16, mask_zero=True, initializer="normal"), make()
    ids = np.array([[3, 5, 7, 0, 0, 0], [4, 8, 2, 6, 9, 1]])
    x = embedding(ids).numpy()
    expected = layer(tf.constant(x), padding_mask=ids != 0)
    assert np.abs(np.array(expected) - np.array(layer(tf.constant(x)))).max() > 1e-4
    if how == "eager":
        y = layer(embedding(ids))
    elif how == "graph":
        y = tf.function(lambda ids: layer(embedding(ids)))(tf.constant(ids))
    elif how == "functional":
        inputs = keras.Input((None,), dtype="int32")
        y = keras.Model(inputs, layer(embedding(inputs)))(ids)
    else:
        y = layer(embedding(ids), padding_mask=np.array([[1, 1, 0, 1, 1, 1], [1] * 6]))
        expected = layer(tf.constant(x), padding_mask=(ids != 0) & np.array([[1, 1, 0, 1, 1, 1], [1] * 6], bool))
    np.testing.assert_allclose(y, expected, atol=1e-6)


def test_keras_masks_of_keys_and_memories_are_merged():
    embedding = TokenEmbedding(20, 16, mask_zero=True, initializer="normal")
    ids = np.array([[3, 5, 7, 0, 0], [4, 8, 2, 6, 9]])
    memory, x = embedding(ids), tf.constant(hidden(3))
    plain = tf.constant(memory.numpy())
    attention, block = MultiHeadAttention(2), DecoderBlock(2, 32, cross_attention=True)
    np.testing.assert_allclose(attention(x, memory), attention(x, plain, padding_mask=ids != 0), atol=1e-6)
    np.testing.assert_allclose(attention(memory, memory), attention(plain, padding_mask=ids != 0), atol=1e-6)
    np.testing.assert_allclose(block(x, memory), block(x, plain, memory_padding_mask=ids != 0), atol=1e-6)
    assert np.abs(np.array(attention(x, memory)) - np.array(attention(x, plain))).max() > 1e-4


def test_a_keras_mask_travels_on_to_the_pooling():
    ids = np.array([[3, 5, 0, 0], [4, 8, 2, 6]])
    inputs = keras.Input((None,), dtype="int32")
    x = EncoderBlock(2, 32)(TokenEmbedding(20, 16, mask_zero=True, initializer="normal")(inputs))
    model = keras.Model(inputs, [MeanPooling()(x), MaxPooling()(x), x])
    mean, highest, tokens = (np.array(y) for y in model(ids))
    np.testing.assert_allclose(mean[0], tokens[0, :2].mean(0), atol=1e-6)
    np.testing.assert_allclose(highest[0], tokens[0, :2].max(0), atol=1e-6)


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16", "mixed_float16"])
def test_functional_with_unknown_batch_and_length_and_scores(policy):
    inputs, mask = keras.Input((None, 16)), keras.Input((None,), dtype="bool")
    y, scores = EncoderBlock(4, 32, num_key_value_heads=2, dtype=policy)(
        inputs, padding_mask=mask, return_attention_scores=True
    )
    z, more = MultiHeadAttention(4, dtype=policy)(y, causal=True, return_attention_scores=True)
    assert y.shape == (None, None, 16) and scores.shape == (None, 4, None, None)
    assert z.shape == (None, None, 16) and more.shape == (None, 4, None, None)
    model = keras.Model([inputs, mask], [y, scores, z, more])
    for length in (3, 7):
        outputs = model([hidden(length), np.ones((2, length), bool)])
        assert [tuple(o.shape) for o in outputs] == [(2, length, 16), (2, 4, length, length)] * 2
        assert {str(o.dtype.name) for o in outputs} == {policy.removeprefix("mixed_")}


def test_symbolic_dtypes_and_shapes_are_those_of_the_numbers():
    inputs, memory = keras.Input((5, 16)), keras.Input((3, 16))
    layer = DecoderBlock(4, 32, cross_attention=True, dtype="mixed_bfloat16")
    symbolic = layer(inputs, memory, return_attention_scores=True)
    eager = layer(hidden(5), hidden(3), return_attention_scores=True)
    assert [(s.shape[1:], s.dtype) for s in symbolic] == [(tuple(e.shape)[1:], e.dtype.name) for e in eager]


@pytest.mark.parametrize(
    "make",
    [
        lambda: MultiHeadAttention(4, num_key_value_heads=2, dropout=0.1, position=RotaryPosition(interleaved=True)),
        lambda: EncoderBlock(4, 32, num_key_value_heads=1, dropout=0.1, attention_dropout=0.2, activation="silu",
                             gated=True, use_bias=False, normalize_first=True, layer_norm_epsilon=1e-5,
                             position=RelativePosition(3, values=False), kernel_initializer="he_normal"),
        lambda: DecoderBlock(4, 32, position=RelativePosition(3)),
    ],
)  # fmt: skip
@pytest.mark.parametrize("built", [False, True])
def test_config_round_trips(make, built):
    layer = make()
    if built:
        layer(hidden())
    config = layer.get_config()
    copy = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
    again = copy.get_config()
    assert config.pop("position")["config"] == again.pop("position")["config"]
    assert again == config
    copy(hidden())
    layer(hidden())
    assert [v.path for v in copy.weights] == [v.path for v in layer.weights]
    copy.set_weights(layer.get_weights())
    np.testing.assert_array_equal(copy(hidden()), layer(hidden()))


def test_dropout_runs_in_training_alone_and_not_while_frozen():
    layer = EncoderBlock(4, 32, dropout=0.5)
    x = hidden()
    still = np.array(layer(x))
    assert np.abs(np.array(layer(x, training=True)) - still).max() > 0.1
    layer.trainable = False
    np.testing.assert_array_equal(layer(x, training=True), still)
    attention = MultiHeadAttention(4, dropout=0.5)
    still = np.array(attention(x))
    assert np.abs(np.array(attention(x, training=True)) - still).max() > 1e-3
    attention.trainable = False
    np.testing.assert_array_equal(attention(x, training=True), still)


def test_a_frozen_block_has_no_dropout_in_fit():
    inputs = keras.Input((4, 8))
    block = EncoderBlock(2, 16, dropout=0.5, name="block")
    block.trainable = False
    model = keras.Model(inputs, block(inputs))
    x = hidden(4, 8)
    model.compile(loss="mse", optimizer="sgd", jit_compile=False)
    # Any dropout would make the targets differ from the outputs.
    assert model.fit(x, model(x), verbose=0, epochs=1).history["loss"][0] < 1e-10
    block.trainable = True
    model.compile(loss="mse", optimizer=keras.optimizers.SGD(0.0), jit_compile=False)
    assert model.fit(x, model(x), verbose=0, epochs=1).history["loss"][0] > 1e-3


def test_reshaped_caches_hold_what_the_key_heads_are():
    layer = MultiHeadAttention(4, num_key_value_heads=2)
    layer(hidden())
    k, v = layer.empty_cache(3, 9)
    assert k.shape == v.shape == (3, 2, 9, 4)


def test_rotary_memory_caches_are_turned_like_keys():
    layer = MultiHeadAttention(2, position=RotaryPosition())
    x, memory = hidden(3), hidden(5, seed=1)
    expected = layer(x, memory)
    np.testing.assert_allclose(layer(x, cache=layer.project_keys_and_values(memory)), expected, atol=1e-6)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: MultiHeadAttention(0), "num_heads must be a positive integer; got 0"),
        (lambda: MultiHeadAttention(4, num_key_value_heads=3), "num_heads must be a multiple of num_key_value_heads"),
        (lambda: MultiHeadAttention(4, num_key_value_heads=0), "num_key_value_heads must be a positive integer; got 0"),
        (lambda: MultiHeadAttention(3)(hidden()), "the width of the query must be a multiple of num_heads; got 16 and 3"),
        (lambda: FeedForward(8, "gleu"), "activation must be one of .*did you mean 'gelu'"),
        (lambda: MultiHeadAttention(2, head_dim=3, position=RotaryPosition())(hidden()), "head_dim must be even"),
    ],
)  # fmt: skip
def test_mistakes_are_one_line(make, message):
    with pytest.raises(TransformerError, match=message) as error:
        make()
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: DecoderBlock(2, 8)(hidden(), hidden()), "memory must be left out where cross_attention is False"),
        (lambda: DecoderBlock(2, 8, True)(hidden()), "memory must be given where cross_attention is True"),
    ],
)
def test_a_memory_that_does_not_fit_the_block_is_named(make, message):
    with pytest.raises(TransformerError, match=message):
        make()
