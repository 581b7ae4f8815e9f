"""Decoders: causal language models as plain functional models with named layers."""

import keras

from tftransformer.config import TransformerConfig
from tftransformer.models.decoder_walk import build_decoder_stack, walk_decoder


def build_decoder(config: TransformerConfig, dtype: str | None = None, name: str = "decoder") -> keras.Model:
    """A functional decoder-only language model: token ids in, logits of each next token out.

    Args:
        config: Sizes and choices; segments are left out. `tie_embeddings` makes the token table the output
            head as well; without it there is a `lm_head/kernel` (D, V) of its own.
        dtype, name: As for `build_encoder`.

    Returns:
        A `keras.Model` from a dict of `token_ids` (B, T) and `padding_mask` (B, T, 1 at real tokens) to logits
        (B, T, V), float32 under every policy: those at t are for the token at t + 1. Layers are named
        `decoder_embeddings`, `decoder_block_0`, ..., `logits`. models/generation runs it token by token.

    Example:
        >>> config = TransformerConfig("gpt2", vocabulary_size=100, num_layers=2, hidden_dim=16, num_heads=2,
        ...                            intermediate_dim=32, max_sequence_length=64)
        >>> ids = keras.ops.ones((2, 7), "int32")
        >>> build_decoder(config)({"token_ids": ids, "padding_mask": ids}).shape
        TensorShape([2, 7, 100])
    """
    inputs = {key: keras.Input((None,), dtype="int32", name=key) for key in ("token_ids", "padding_mask")}
    stack = build_decoder_stack(config, config.vocabulary_size, config.num_layers, cross_attention=False, dtype=dtype)
    return keras.Model(inputs, walk_decoder(stack, inputs), name=name)
