"""Position schemes one by one: their formulas, what they do past a trained length, and their refusals."""

import math

import keras
import numpy as np
import pytest
import tensorflow as tf

from tftransformer.errors import TransformerError
from tftransformer.layers import (
    ALiBi,
    LearnedPosition,
    MultiHeadAttention,
    RelativePosition,
    RelativePositionBuckets,
    RotaryPosition,
    SinusoidalPosition,
    TransformerEmbedding,
)
from tftransformer.layers.position_biases import alibi_slopes, bucket_table, relative_buckets


def test_sinusoids_are_the_papers():
    y = np.array(SinusoidalPosition()(keras.ops.zeros((1, 600, 6)), offset=3))[0]
    for t, i in ((0, 0), (7, 1), (599, 2)):
        angle = (t + 3) / 10000 ** (2 * i / 6)
        np.testing.assert_allclose(y[t, 2 * i : 2 * i + 2], [math.sin(angle), math.cos(angle)], atol=1e-4)


def test_learned_positions_add_the_rows_from_the_offset_on():
    layer = LearnedPosition(8, initializer="normal")
    y = layer(np.ones((2, 3, 4), "float32"), offset=5)
    np.testing.assert_allclose(y[1] - 1, layer.embeddings[5:8], atol=1e-6)
    np.testing.assert_allclose(layer(np.ones((2, 3, 4), "float32"), offset=tf.constant(5)), y)


def test_learned_positions_refuse_what_their_table_does_not_hold():
    layer = LearnedPosition(8)
    with pytest.raises(TransformerError, match="at most 8 positions long.*; got 9"):
        layer(np.zeros((1, 9, 4)))
    with pytest.raises(TransformerError, match="at most 8 positions long.*; got 10"):
        layer(np.zeros((1, 3, 4)), offset=7)


@pytest.mark.parametrize("shape", [(1, 9, 4), (1, 100, 4)])
def test_learned_positions_refuse_inside_a_graph_of_unknown_length(shape):
    layer = LearnedPosition(8)
    run = tf.function(layer, input_signature=[tf.TensorSpec((None, None, 4))])
    assert run(tf.zeros((1, 8, 4))).shape == (1, 8, 4)
    with pytest.raises(tf.errors.InvalidArgumentError):
        run(tf.zeros(shape))


def test_learned_positions_have_a_gradient_on_the_rows_in_use():
    layer = LearnedPosition(5)
    layer.build((None, None, 2))
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(layer(tf.zeros((3, 2, 2)), offset=1))
    gradient = np.array(tf.convert_to_tensor(tape.gradient(loss, layer.embeddings.value)))
    np.testing.assert_array_equal(gradient, [[0, 0], [3, 3], [3, 3], [0, 0], [0, 0]])


def test_both_forms_of_rotary_are_the_same_up_to_the_order_of_channels():
    x = np.random.default_rng(0).normal(size=(2, 3, 5, 8)).astype("float32")
    order = [0, 2, 4, 6, 1, 3, 5, 7]  # pairs (2i, 2i + 1) to (i, i + 4)
    halves = np.array(RotaryPosition().rotate(x[..., order], offset=4))
    pairs = np.array(RotaryPosition(interleaved=True).rotate(x, offset=4))
    np.testing.assert_allclose(pairs[..., order], halves, atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(pairs, axis=-1), np.linalg.norm(x, axis=-1), rtol=1e-5)


def test_rotary_keeps_its_angles_in_half_precision():
    x = np.ones((1, 1, 600, 8), "float32")
    wide = np.array(RotaryPosition().rotate(x))
    narrow = np.array(tf.cast(RotaryPosition(dtype="bfloat16").rotate(tf.cast(x, "bfloat16")), "float32"))
    np.testing.assert_allclose(narrow, wide, atol=0.01)


def test_alibi_slopes_also_where_heads_are_no_power_of_two():
    np.testing.assert_allclose(alibi_slopes(8), [2.0**-n for n in range(1, 9)])
    # 12 heads: the 8 of 8, then every other one of 16, which are powers of 2^-0.5.
    np.testing.assert_allclose(alibi_slopes(12)[8:], [2.0 ** (-0.5 * n) for n in (1, 3, 5, 7)], rtol=1e-6)
    assert [len(alibi_slopes(n)) for n in range(1, 20)] == list(range(1, 20))


def test_alibi_with_a_cache_is_a_row_of_the_whole():
    layer = ALiBi(3)
    whole = np.array(layer(np.zeros((1, 9))))
    np.testing.assert_array_equal(layer(np.zeros((1, 2)), key_length=9, offset=4), whole[:, :, 4:6])


def test_buckets_are_t5s_published_ones():
    # From the paper's text: 32 buckets, one each for small offsets, the last for 128 and beyond.
    encoder = np.array(relative_buckets(np.arange(-200, 201)))
    assert encoder[200] == 0 and encoder[199] == 1 and encoder[201] == 17
    assert encoder[:73].tolist() == [15] * 73 and encoder[-73:].tolist() == [31] * 73
    assert set(encoder[:201]) == set(range(16)) and set(encoder[201:]) == set(range(17, 32))
    decoder = np.array(relative_buckets(np.arange(-200, 3), bidirectional=False))
    assert decoder[-3:].tolist() == [0, 0, 0] and decoder[0] == 31 and np.all(np.diff(decoder) <= 0)


@pytest.mark.live
@pytest.mark.parametrize("bidirectional", [True, False])
@pytest.mark.parametrize(("count", "distance"), [(32, 128), (64, 256), (8, 20), (16, 33), (12, 100)])
def test_buckets_are_hugging_faces(bidirectional, count, distance):
    torch = pytest.importorskip("torch")
    t5 = pytest.importorskip("transformers.models.t5.modeling_t5")
    offsets = np.arange(-1000, 1001)
    expected = t5.T5Attention._relative_position_bucket(torch.tensor(offsets), bidirectional, count, distance)
    np.testing.assert_array_equal(relative_buckets(offsets, count, distance, bidirectional), expected.numpy())


def test_bucket_bias_with_a_cache_is_a_row_of_the_whole():
    layer = RelativePositionBuckets(3, num_buckets=8, max_distance=6, bidirectional=False, initializer="normal")
    whole = np.array(layer(np.zeros((1, 9))))
    np.testing.assert_array_equal(layer(np.zeros((1, 2)), key_length=9, offset=4), whole[:, :, 4:6])


@pytest.mark.parametrize("part", [RotaryPosition, lambda: RelativePosition(2)])
def test_parts_take_any_length(part):
    layer = MultiHeadAttention(2, position=part())
    layer(np.zeros((1, 3, 8)))
    assert np.all(np.isfinite(layer(np.random.default_rng(0).normal(size=(1, 700, 8)))))


def test_relative_vectors_beyond_the_distance_are_one():
    layer = RelativePosition(2, initializer="normal")
    layer.build((1, 1, 9, 4))
    query = np.ones((1, 1, 9, 4), "float32")
    row = np.array(layer.score_bias(query, 9))[0, 0, 0]
    assert len(set(row[2:].tolist())) == 1 and len(set(row[:3].tolist())) == 3


@pytest.mark.parametrize("make", [lambda: ALiBi(4), lambda: RelativePositionBuckets(4, 16, 40, False),
                                  lambda: LearnedPosition(9), lambda: SinusoidalPosition(500.0)])  # fmt: skip
def test_configs_round_trip_and_run_symbolically(make):
    layer = make()
    copy = type(layer).from_config(layer.get_config())
    assert copy.get_config() == layer.get_config()
    inputs = keras.Input((None, 8))
    y = copy(inputs)
    real = copy(np.zeros((2, 5, 8)))
    assert len(y.shape) == len(real.shape) and keras.Model(inputs, y)(np.zeros((2, 5, 8))).shape == real.shape


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: RelativePosition(0), "max_distance must be a positive integer; got 0"),
        (lambda: ALiBi(0), "num_heads must be a positive integer; got 0"),
        (lambda: RelativePositionBuckets(2, num_buckets=7), "num_buckets must be an even number of 4 or more"),
        (lambda: RelativePositionBuckets(2, num_buckets=1, bidirectional=False), "num_buckets must be .* 2 or more"),
        (lambda: RelativePositionBuckets(2, max_distance=8), "max_distance must be above 8"),
        (lambda: RotaryPosition().build((None, 2, None, 5)), "head_dim must be even for rotary positions; got 5"),
        (
            lambda: TransformerEmbedding(9, 4, position="rotary"),
            "position must be 'learned', 'sinusoidal', 'sinusoidal_halves' or 'none'",
        ),
    ],
)
def test_mistakes_are_one_line(make, message):
    with pytest.raises(TransformerError, match=message) as error:
        make()
    assert "\n" not in str(error.value)


def test_bucket_table_ends_in_the_last_bucket():
    for buckets, distance in ((16, 128), (2, 3), (5, 9)):
        table = bucket_table(buckets, distance)
        assert table[0] == 0 and table[-1] == buckets - 1 and np.all(np.diff(table) >= 0)


def test_sines_in_one_half_are_the_papers_in_another_order():
    x = keras.ops.zeros((1, 5, 6))
    paper, halves = (np.array(SinusoidalPosition(interleaved=order)(x, offset=2)) for order in (True, False))
    np.testing.assert_array_equal(halves, np.concatenate([paper[..., 0::2], paper[..., 1::2]], axis=-1))
