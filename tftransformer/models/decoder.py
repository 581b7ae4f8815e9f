"""Decoders: causal language models as plain functional models with named layers."""

from typing import Any

import keras

from tftransformer.config import TransformerConfig
from tftransformer.layers.projection import Projection
from tftransformer.models.blocks import build_decoder_block, build_embeddings, build_norm, build_position_bias


def build_decoder(config: TransformerConfig, dtype: str | None = None, name: str = "decoder") -> keras.Model:
    """A functional decoder-only language model: token ids in, logits of each next token out.

    Args:
        config: Sizes and choices; segments are left out. `tie_embeddings` makes the token table the output
            head as well; without it there is a `lm_head/kernel` (D, V) of its own.
        dtype, name: As for `build_encoder`.

    Returns:
        A `keras.Model` from a dict of `token_ids` (B, T) and `padding_mask` (B, T, 1 at real tokens) to logits
        (B, T, V), float32 under every policy: those at t are for the token at t + 1. Layers are named
        `decoder_embeddings`, `decoder_block_0`, ..., `logits`. models/decoding.py runs it token by token.

    Example:
        >>> config = TransformerConfig("gpt2", vocabulary_size=100, num_layers=2, hidden_dim=16, num_heads=2,
        ...                            intermediate_dim=32, max_sequence_length=64)
        >>> ids = keras.ops.ones((2, 7), "int32")
        >>> build_decoder(config)({"token_ids": ids, "padding_mask": ids}).shape
        TensorShape([2, 7, 100])
    """
    inputs = {key: keras.Input((None,), dtype="int32", name=key) for key in ("token_ids", "padding_mask")}
    sizes = {"vocabulary_size": config.vocabulary_size, "num_layers": config.num_layers}
    logits = decode(config, inputs["token_ids"], inputs["padding_mask"], **sizes, dtype=dtype)
    return keras.Model(inputs, logits, name=name)


def decode(
    config: TransformerConfig,
    token_ids: Any,
    padding_mask: Any,
    vocabulary_size: int,
    num_layers: int,
    memory: Any = None,
    memory_padding_mask: Any = None,
    dtype: str | None = None,
) -> Any:
    """The decoder's graph on symbolic inputs: (B, T) ids and mask to logits (B, T, V), with fresh layers.

    With a `memory` (B, S, D), such as an encoder's output, the blocks have a cross-attention to it.
    """
    # Layers
    cross = memory is not None
    embeddings = build_embeddings(config, vocabulary_size, 0, "decoder_embeddings", dtype)
    position_bias = build_position_bias(config, "decoder_position_bias", bidirectional=False, dtype=dtype)
    blocks = [build_decoder_block(config, f"decoder_block_{i}", cross, dtype) for i in range(num_layers)]
    final_norm = build_norm(config, "decoder_final_norm", dtype)
    lm_head = None
    if not config.tie_embeddings:
        lm_head = Projection(vocabulary_size, use_bias=False, dtype=dtype, name="lm_head")
    # Of its own, so that the loss is computed in float32 whatever the policy of the layers.
    logits = keras.layers.Activation("linear", dtype="float32", name="logits")

    # Graph
    x = embeddings(token_ids)
    given = {"padding_mask": padding_mask}
    if position_bias is not None:
        given["attention_bias"] = position_bias(token_ids)
    if cross:
        given |= {"memory": memory, "memory_padding_mask": memory_padding_mask}
    for block in blocks:
        x = block(x, **given)
    if final_norm is not None:
        x = final_norm(x)
    return logits(embeddings(x, reverse=True) if lm_head is None else lm_head(x))
