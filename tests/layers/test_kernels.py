"""The kernels behind the one door: the numbers of the plain operations, their gradients, and the laws of dropout."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from tftransformer.layers import Dropout, FeedForward, MultiHeadAttention, Projection, tensorflow_kernels
from tftransformer.layers.kernels import gelu, smoothed_cross_entropy
from tftransformer.layers.projection import project_together


def normal(*shape, dtype="float32", seed=0):
    return tf.cast(np.random.default_rng(seed).normal(size=shape) * 3, dtype)


def value_and_gradient(function, x):
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = function(x)
    return y, tape.gradient(y, x, output_gradients=normal(*x.shape, dtype=x.dtype, seed=1))


@pytest.mark.parametrize("large", [False, True])
@pytest.mark.parametrize(("dtype", "atol"), [("float32", 2e-6), ("bfloat16", 6e-2)])
def test_gelu_and_its_gradient(monkeypatch, large, dtype, atol):
    monkeypatch.setattr(tensorflow_kernels, "LARGE", 0 if large else 1 << 60)
    x = normal(7, 33, dtype=dtype)
    expected = value_and_gradient(lambda x: ops.gelu(x, approximate=False), tf.cast(x, "float32"))
    for function in (lambda x: gelu(x, training=True), tf.function(lambda x: gelu(x, training=True))):
        for ours, theirs in zip(value_and_gradient(function, x), expected):
            assert ours.dtype == dtype and ours.shape == x.shape
            np.testing.assert_allclose(
                tf.cast(ours, "float32"), theirs, rtol=0.02 if dtype == "bfloat16" else 2e-6, atol=atol
            )


@pytest.mark.parametrize("large", [False, True])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_cross_entropy_over_a_vocabulary_and_its_gradient(monkeypatch, large, smoothing):
    monkeypatch.setattr(tensorflow_kernels, "LARGE", 0 if large else 1 << 60)
    logits, ids = normal(3, 5, 11), np.random.default_rng(1).integers(0, 11, (3, 5))
    soft = tf.one_hot(ids, 11) * (1 - smoothing) + smoothing / 11

    def wanted(logits):
        return tf.nn.softmax_cross_entropy_with_logits(soft, logits)

    def found(logits):
        return smoothed_cross_entropy(ids, logits, smoothing)

    weights = np.random.default_rng(2).normal(size=(3, 5)).astype("float32")
    results = []
    for function in (wanted, found, tf.function(found)):
        with tf.GradientTape() as tape:
            tape.watch(logits)
            y = function(logits)
        results.append((y, tape.gradient(y, logits, output_gradients=tf.constant(weights))))
    for result in results[1:]:
        assert result[0].shape == (3, 5) and result[1].shape == (3, 5, 11)
        for ours, theirs in zip(result, results[0], strict=True):
            np.testing.assert_allclose(ours, theirs, atol=3e-6, rtol=1e-5)


def test_cross_entropy_holds_where_logits_are_huge():
    np.testing.assert_allclose(smoothed_cross_entropy([0, 1], [[1e4, -1e4], [1e4, -1e4]], 0.0), [0.0, 2e4])


def test_gelu_of_a_length_known_only_when_it_runs(monkeypatch):
    monkeypatch.setattr(tensorflow_kernels, "LARGE", 40)
    run = tf.function(lambda x: gelu(x, training=True), input_signature=[tf.TensorSpec([None, 8])])
    for rows in (2, 9, 5):
        x = normal(rows, 8)
        y, slope = value_and_gradient(run, x)
        expected = value_and_gradient(lambda x: ops.gelu(x, approximate=False), x)
        np.testing.assert_allclose(y, expected[0], atol=2e-6)
        np.testing.assert_allclose(slope, expected[1], atol=2e-6)


@pytest.mark.parametrize(("rate", "rounded"), [(0.1, 26 / 256), (0.5, 0.5), (1e-3, 66 / 65536), (0.999, 65470 / 65536)])
def test_dropout_keeps_the_mean_and_drops_its_share(rate, rounded):
    x = tf.ones((400, 1001))
    y, slope = value_and_gradient(lambda x: Dropout(rate, seed=3)(x, training=True), x)
    count = x.shape.num_elements()
    spread = 4 * np.sqrt(rounded * (1 - rounded) / count)
    assert abs(np.mean(y.numpy() == 0) - rounded) < spread
    assert abs(np.mean(y) - 1) < spread / (1 - rounded)
    assert set(np.unique(y)) <= {np.float32(0), np.float32(1 / (1 - rounded))}
    # The gradient passes where the value did, with the same scale.
    np.testing.assert_allclose(slope, y * normal(400, 1001, seed=1), rtol=1e-6)


RATES = [1e-7, 1e-4, 1e-3, 1 / 512, 0.01, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 0.7, 0.9, 0.999]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("rate", RATES)
def test_the_law_of_dropout_keeps_the_mean_and_the_rate(rate, dtype):
    law = tensorflow_kernels.dropout_law(rate, dtype)
    count = 2**law.bits
    # What the elements are really multiplied by: rounded to their dtype.
    scales = [float(tf.cast(tf.cast(value, dtype), "float64")) for value in (law.scale, law.scale + law.step)]
    mean = (count - law.dropped - law.raised) / count * scales[0] + law.raised / count * scales[1]
    assert abs(mean - 1) < 1e-6
    assert 0 <= law.raised < count - law.dropped
    assert abs(law.dropped / count - rate) <= 0.02 * min(rate, 1 - rate)


def test_usual_rates_cost_a_byte_an_element():
    for rate in (0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5):
        assert tensorflow_kernels.dropout_law(rate, "bfloat16").bits == 8


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("rate", [1e-3, 0.1])
def test_dropout_shrinks_nothing(rate, dtype):
    x = tf.ones((1000, 1000), dtype)
    y = tf.cast(Dropout(rate, seed=5, dtype=dtype)(x, training=True), "float64").numpy()
    kept = 1 - rate
    assert abs(y.mean() - 1) < 4 * np.sqrt(rate / kept / y.size)
    # Without the noise of how many were dropped: the mean of what is left.
    law = tensorflow_kernels.dropout_law(rate, dtype)
    assert abs(y[y > 0].mean() * (1 - law.dropped / 2**law.bits) - 1) < 1e-4


def test_dropout_masks_differ_from_call_to_call_and_repeat_with_the_seed():
    def draw(layer, times):
        return [layer(tf.ones((50, 50)), training=True).numpy() for _ in range(times)]

    first, second = draw(Dropout(0.3, seed=7), 2)
    again, _ = draw(Dropout(0.3, seed=7), 2)
    assert (first == again).all() and (first != second).any()
    rows = first == 0
    assert abs(np.corrcoef(rows[:, 1:].ravel(), rows[:, :-1].ravel())[0, 1]) < 0.08  # bytes of one word


def test_dropout_does_nothing_outside_training():
    x = normal(3, 4)
    for layer, training in ((Dropout(0.5), False), (Dropout(0.0), True)):
        np.testing.assert_array_equal(layer(x, training=training), x)


@pytest.mark.parametrize("use_bias", [True, False])
def test_one_product_for_several_projections(use_bias):
    parts = [Projection(units, use_bias=use_bias) for units in (3, 5, 2)]
    x = normal(2, 4, 6)
    for seed, part in enumerate(parts):
        part.build(x.shape)
        for weight in part.weights:
            weight.assign(normal(*weight.shape, seed=seed))
    weights = [weight.value for part in parts for weight in part.weights]

    def run(function):
        with tf.GradientTape() as tape:
            y = function()
        return y, tape.gradient(y, weights, output_gradients=normal(*y.shape, seed=9))

    together, slopes = run(lambda: project_together(x, parts))
    apart, expected = run(lambda: tf.concat([part(x) for part in parts], axis=-1))
    np.testing.assert_allclose(together, apart, atol=1e-5)
    for ours, theirs in zip(slopes, expected):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)


def operations(function, *specs):
    """How often each operation stands in a traced function, those of its conditions included."""
    graph = tf.function(function, autograph=False).get_concrete_function(*specs).graph.as_graph_def()
    nodes = [node.op for part in (graph, *graph.library.function) for node in
             (part.node if hasattr(part, "node") else part.node_def)]  # fmt: skip
    return {name: nodes.count(name) for name in set(nodes)}


def test_self_attention_makes_three_kinds_of_product_and_cross_attention_five():
    layer = MultiHeadAttention(num_heads=2)
    spec = tf.TensorSpec([None, None, 8])
    layer.build((None, None, 8))
    self_attention = operations(lambda x: layer(x), spec)
    assert self_attention["MatMul"] == 2 and self_attention["BatchMatMulV2"] == 2
    assert operations(lambda x, m: layer(x, m), spec, spec)["MatMul"] == 4


def test_inference_has_no_kernel_that_must_be_compiled():
    layer = FeedForward(16)
    layer.build((None, None, 8))
    spec = tf.TensorSpec([None, None, 8])

    def conditions(training):
        return [name for name in operations(lambda x: layer(x, training=training), spec) if name.endswith("If")]

    assert conditions(True) and not conditions(False)
    layer.trainable = False
    assert not conditions(True)


@pytest.mark.parametrize("training", [False, True])
def test_a_dropout_draws_a_byte_an_element(training):
    layer = Dropout(0.1)
    found = operations(lambda x: layer(x, training=training), tf.TensorSpec([None, 12]))
    drawn = [name for name in found if name.startswith("StatelessRandom")]
    assert not any(name == "StatelessRandomUniformV2" for name in drawn)
    assert any(name.startswith("StatelessRandomUniformFullInt") for name in drawn) == training


def test_dropout_survives_saving(tmp_path):
    inputs = keras.Input((4,))
    model = keras.Model(inputs, Dropout(0.25, name="dropout")(inputs))
    model.save(tmp_path / "model.keras")
    assert keras.saving.load_model(tmp_path / "model.keras").get_layer("dropout").rate == 0.25
