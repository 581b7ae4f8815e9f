"""Attention and blocks against plain numpy, written from the papers' formulas and not from the layers' code."""

import math

import keras
import numpy as np
import pytest

from tftransformer.layers import (
    ALiBi,
    DecoderBlock,
    EncoderBlock,
    FeedForward,
    MultiHeadAttention,
    RelativePosition,
    RelativePositionBuckets,
    RotaryPosition,
)

B, T, S, N, H, D = 2, 5, 7, 4, 6, 16


def randomise(layer, seed=0):
    """Every weight random, so that swapped or left-out ones show."""
    rng = np.random.default_rng(seed)
    for variable in layer.weights:
        variable.assign(rng.normal(size=variable.shape) * 0.4)
    return {v.path.split("/", 1)[1]: keras.ops.convert_to_numpy(v).astype("float64") for v in layer.weights}


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def norm(x, gamma, beta, epsilon):
    mean, variance = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
    return (x - mean) / np.sqrt(variance + epsilon) * gamma + beta


def rotary(x):
    half = x.shape[-1] // 2
    out = np.zeros_like(x)
    for t in range(x.shape[0]):
        for i in range(half):
            angle = t / 10000 ** (2 * i / x.shape[-1])
            turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
            out[t, [i, i + half]] = turn @ x[t, [i, i + half]]
    return out


def attend(weights, x, memory, mask, heads=N, key_heads=N, turn=lambda x: x, bias=None, relative=None):
    """One query at a time, one head at a time."""
    q, k, v = (
        inputs @ weights[f"{name}/kernel"] + weights[f"{name}/bias"]
        for name, inputs in (("query", x), ("key", memory), ("value", memory))
    )
    width = q.shape[-1] // heads
    out = np.zeros(q.shape)
    for b in range(x.shape[0]):
        for n in range(heads):
            shared = n * key_heads // heads
            qs = turn(q[b][:, n * width : (n + 1) * width])
            ks = turn(k[b][:, shared * width : (shared + 1) * width])
            vs = v[b][:, shared * width : (shared + 1) * width]
            for t in range(x.shape[1]):
                seen = [s for s in range(memory.shape[1]) if mask[b, t, s]]
                if not seen:
                    continue
                near = [int(np.clip(s - t, -relative, relative)) + relative for s in seen] if relative else None
                keys = ks[seen] + (weights["position/keys"][near] if relative else 0)
                values = vs[seen] + (weights["position/values"][near] if relative else 0)
                scores = keys @ qs[t] / math.sqrt(width)
                if bias is not None:
                    scores = scores + bias[n, t, seen]
                out[b, t, n * width : (n + 1) * width] = softmax(scores) @ values
    y = out @ weights["output/kernel"] + weights["output/bias"]
    return np.where(mask.any(-1, keepdims=True), y, 0)


def sub(weights, prefix):
    return {name[len(prefix) + 1 :]: value for name, value in weights.items() if name.startswith(prefix + "/")}


def data(length, seed):
    return np.random.default_rng(seed).normal(size=(B, length, D))


@pytest.mark.parametrize("key_heads", [4, 2, 1])
@pytest.mark.parametrize("position", ["none", "rotary", "relative", "alibi", "buckets"])
def test_self_attention(position, key_heads):
    part = {"rotary": RotaryPosition(), "relative": RelativePosition(max_distance=2)}.get(position)
    layer = MultiHeadAttention(N, head_dim=H, num_key_value_heads=key_heads, position=part)
    x, mask = data(T, 1), np.random.default_rng(2).random((B, T, T)) < 0.6
    layer.build((B, T, D))
    weights = randomise(layer)
    given, reference = {}, {}
    if position == "alibi":
        slopes = [2.0 ** (-8 * (n + 1) / N) for n in range(N)]
        reference["bias"] = np.array([[[-m * abs(i - j) for j in range(T)] for i in range(T)] for m in slopes])
        given["attention_bias"] = ALiBi(N)(x)
    elif position == "buckets":
        bias = RelativePositionBuckets(N, num_buckets=8, max_distance=4)
        bias.build((B, T))
        table = randomise(bias)["embeddings"]
        # 4 buckets a side for distances up to 4: 0, 1, then 2-3 (2 + floor(2 log2(d/2))) and from 4 on the last.
        bucket = {0: 0, 1: 1, 2: 2, 3: 3, 4: 3}
        index = [[bucket[abs(j - i)] + (4 if j > i else 0) for j in range(T)] for i in range(T)]
        reference["bias"] = np.moveaxis(table[np.array(index)], -1, 0)
        given["attention_bias"] = bias(x)
    elif position == "rotary":
        reference["turn"] = rotary
    elif position == "relative":
        reference["relative"] = 2
    y = layer(x, attention_mask=mask, **given)
    np.testing.assert_allclose(y, attend(weights, x, x, mask, key_heads=key_heads, **reference), atol=2e-5)


def test_cross_attention_with_padding_and_pair_masks():
    layer = MultiHeadAttention(N, head_dim=H, num_key_value_heads=2)
    x, memory = data(T, 1), data(S, 2)
    layer.build((B, T, D), (B, S, D))
    weights = randomise(layer)
    padding = np.array([[1] * 7, [1, 1, 0, 0, 1, 0, 0]])
    pair = np.random.default_rng(3).random((T, S)) < 0.7
    y = layer(x, memory, padding_mask=padding, attention_mask=pair)
    mask = padding[:, None, :].astype(bool) & pair[None]
    np.testing.assert_allclose(y, attend(weights, x, memory, mask, key_heads=2), atol=2e-5)


@pytest.mark.parametrize("activation", ["gelu", "gelu_tanh", "relu", "silu"])
@pytest.mark.parametrize("gated", [False, True])
def test_feed_forward(activation, gated):
    layer = FeedForward(24, activation, gated)
    x = data(T, 1)
    layer.build(x.shape)
    weights = randomise(layer)
    np.testing.assert_allclose(layer(x), feed_forward(weights, x, activation, gated), atol=2e-5)


def feed_forward(weights, x, activation="gelu", gated=False):
    erf = np.vectorize(math.erf)
    activate = {
        "gelu": lambda z: z * 0.5 * (1 + erf(z / math.sqrt(2))),
        "gelu_tanh": lambda z: z * 0.5 * (1 + np.tanh(math.sqrt(2 / math.pi) * (z + 0.044715 * z**3))),
        "relu": lambda z: np.maximum(z, 0),
        "silu": lambda z: z / (1 + np.exp(-z)),
    }[activation]
    inner = x @ weights["intermediate/kernel"] + weights["intermediate/bias"]
    if gated:
        inner = activate(x @ weights["gate/kernel"] + weights["gate/bias"]) * inner
    else:
        inner = activate(inner)
    return inner @ weights["output/kernel"] + weights["output/bias"]


def sublayer(weights, name, x, function, first):
    gamma, beta = weights[f"{name}/gamma"], weights[f"{name}/beta"]
    return x + function(norm(x, gamma, beta, 1e-5)) if first else norm(x + function(x), gamma, beta, 1e-5)


@pytest.mark.parametrize("first", [False, True])
def test_encoder_block(first):
    layer = EncoderBlock(N, 24, normalize_first=first, layer_norm_epsilon=1e-5)
    x = data(T, 1)
    layer.build(x.shape)
    w = randomise(layer)
    padding = np.array([[1] * T, [1, 1, 0, 0, 0]])
    mask = np.broadcast_to(padding[:, None].astype(bool), (B, T, T))
    y = sublayer(w, "attention_norm", x, lambda z: attend(sub(w, "attention"), z, z, mask), first)
    y = sublayer(w, "feed_forward_norm", y, lambda z: feed_forward(sub(w, "feed_forward"), z), first)
    np.testing.assert_allclose(layer(x, padding_mask=padding), y, atol=5e-5)


@pytest.mark.parametrize("first", [False, True])
@pytest.mark.parametrize("cross", [False, True])
def test_decoder_block(first, cross):
    layer = DecoderBlock(N, 24, cross_attention=cross, normalize_first=first, layer_norm_epsilon=1e-5)
    x, memory = data(T, 1), data(S, 2)
    layer.build(x.shape, memory.shape)
    w = randomise(layer)
    padding = np.array([[1] * T, [1, 1, 1, 0, 0]])
    memory_padding = np.array([[1] * S, [1, 1, 1, 1, 0, 0, 0]])
    causal = padding[:, None].astype(bool) & np.tril(np.ones((T, T), bool))
    across = np.broadcast_to(memory_padding[:, None].astype(bool), (B, T, S))
    y = sublayer(w, "self_attention_norm", x, lambda z: attend(sub(w, "self_attention"), z, z, causal), first)
    given = {}
    if cross:
        given = {"memory": memory, "memory_padding_mask": memory_padding}
        y = sublayer(
            w, "cross_attention_norm", y, lambda z: attend(sub(w, "cross_attention"), z, memory, across), first
        )
    y = sublayer(w, "feed_forward_norm", y, lambda z: feed_forward(sub(w, "feed_forward"), z), first)
    np.testing.assert_allclose(layer(x, padding_mask=padding, **given), y, atol=5e-5)
