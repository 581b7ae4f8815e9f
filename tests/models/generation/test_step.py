"""Token by token with a cache equals the whole sequence at once."""

import keras
import numpy as np
import pytest

from tftransformer.config import POSITIONS, TransformerConfig
from tftransformer.errors import TransformerError
from tftransformer.layers import MultiHeadAttention
from tftransformer.models import build_decoder, build_encoder_decoder, decode_step, start_decoding

LENGTH = 5


def config(family, position, key_heads, **changes):
    return TransformerConfig(
        family, vocabulary_size=30, num_layers=2, hidden_dim=16, num_heads=4, intermediate_dim=24,
        max_sequence_length=9, position=position, num_key_value_heads=key_heads, **changes,
    )  # fmt: skip


def randomise(model):
    rng = np.random.default_rng(5)
    for variable in model.weights:
        variable.assign(rng.normal(size=variable.shape) * 0.3)


def token_ids(seed=0, length=LENGTH):
    return np.random.default_rng(seed).integers(1, 30, (2, length)).astype("int32")


def step_by_step(model, ids, state, padding_mask=None, prompt=3):
    """A prompt at once, then one token at a time."""
    logits, state = decode_step(model, ids[:, :prompt], state, 0, padding_mask)
    pieces = [np.array(logits)]
    for t in range(prompt, ids.shape[1]):
        logits, state = decode_step(model, ids[:, t : t + 1], state, t, padding_mask)
        pieces.append(np.array(logits))
    return np.concatenate(pieces, axis=1)


@pytest.mark.by_default("sinusoidal-4", "alibi-4", "relative_buckets-4", "rotary-2", "relative-1")
@pytest.mark.parametrize(("position", "key_heads"), [*((p, 4) for p in POSITIONS), ("rotary", 2), ("relative", 1)])
def test_a_cached_decoder_equals_the_whole(position, key_heads):
    model = build_decoder(config("gpt2", position, key_heads, tie_embeddings=key_heads != 1))
    randomise(model)
    ids, mask = token_ids(), np.ones((2, LENGTH), "int32")
    mask[0, 1] = 0
    whole = model({"token_ids": ids, "padding_mask": mask})
    # The cache is longer than the text; what it will hold is called real from the start.
    padding = np.concatenate([mask, np.ones((2, 2), "int32")], axis=1)
    stepped = step_by_step(model, ids, start_decoding(model, 2, LENGTH + 2), padding)
    np.testing.assert_allclose(stepped, whole, atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize(
    ("position", "key_heads"),
    [
        ("rotary", 2),
        ("relative", 4),
        pytest.param("sinusoidal", 4, marks=pytest.mark.slow),
        pytest.param("alibi", 2, marks=pytest.mark.slow),
    ],
)
def test_a_cached_encoder_decoder_equals_the_whole(position, key_heads):
    model = build_encoder_decoder(config("transformer", position, key_heads, scale_embeddings=False))
    randomise(model)
    source, ids = token_ids(1, 5), token_ids()
    source_mask = np.array([[1, 1, 1, 0, 0], [1] * 5])
    inputs = {"encoder_token_ids": source, "encoder_padding_mask": source_mask,
              "decoder_token_ids": ids, "decoder_padding_mask": np.ones_like(ids)}  # fmt: skip
    memory = keras.Model(model.input, model.get_layer("encoder_block_1").output)(inputs)
    state = start_decoding(model, 2, LENGTH, memory, source_mask)
    np.testing.assert_allclose(step_by_step(model, ids, state, prompt=1), model(inputs), atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("key_heads", [4, 2])
def test_cached_attention_returns_the_rows_of_the_whole(key_heads):
    layer = MultiHeadAttention(4, num_key_value_heads=key_heads)
    x = np.random.default_rng(0).normal(size=(2, 5, 16)).astype("float32")
    whole, scores = layer(x, causal=True, return_attention_scores=True)
    cache = layer.empty_cache(2, 6)
    for t in range(5):
        y, row, cache = layer(x[:, t : t + 1], cache=cache, cache_index=t, return_attention_scores=True)
        np.testing.assert_allclose(y[:, 0], whole[:, t], atol=1e-5)
        np.testing.assert_allclose(row[:, :, 0, :5], scores[:, :, t], atol=1e-6)
        assert np.all(np.array(row)[..., t + 1 :] == 0)


def test_a_cache_longer_than_the_position_table_is_refused():
    model = build_decoder(config("gpt2", "learned", 4))
    with pytest.raises(TransformerError, match="length must be at most 9, .*; got 10"):
        start_decoding(model, 2, 10)
