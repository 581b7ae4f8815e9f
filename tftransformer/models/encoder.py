"""Encoders: a config becomes a plain functional model with named layers."""

from typing import Any

import keras

from tftransformer.config import TransformerConfig
from tftransformer.models.parts import build_embeddings, build_encoder_block, build_norm, build_position_bias

__all__ = ["build_encoder", "build_encoder_block", "encode", "encoder_inputs"]


def build_encoder(config: TransformerConfig, dtype: str | None = None, name: str = "encoder") -> keras.Model:
    """A functional encoder: token ids in, one vector a token out.

    Args:
        config: Sizes and choices; `config.family` must be one that encodes.
        dtype: Keras dtype policy of every layer, such as "mixed_bfloat16". None: the global one.
        name: Of the model.

    Returns:
        A `keras.Model` from a dict of `token_ids` (B, T), `padding_mask` (B, T, 1 at real tokens) and,
        where the config has several segments, `segment_ids` (B, T), to the last block's output (B, T, D). Layers
        are named `embeddings`, `encoder_block_0`, ... (and `position_bias`, for ALiBi and relative buckets);
        `keras.Model(encoder.input, encoder.get_layer("encoder_block_3").output)` looks inside. Where blocks are
        shared (`num_distinct_blocks`), a layer is applied several times: `get_layer("encoder_block_0").get_output_at(3)`.

    Example:
        >>> config = TransformerConfig(vocabulary_size=100, num_layers=2, hidden_dim=16, num_heads=2,
        ...                            intermediate_dim=32, max_sequence_length=64)
        >>> encoder = build_encoder(config)
        >>> ids = keras.ops.ones((2, 7), "int32")
        >>> encoder({"token_ids": ids, "padding_mask": ids, "segment_ids": ids * 0}).shape
        TensorShape([2, 7, 16])
    """
    inputs = {key: keras.Input((None,), dtype="int32", name=key) for key in encoder_inputs(config)}
    hidden = encode(config, inputs["token_ids"], inputs["padding_mask"], inputs.get("segment_ids"), dtype)
    return keras.Model(inputs, hidden, name=name)


def encode(
    config: TransformerConfig,
    token_ids: Any,
    padding_mask: Any,
    segment_ids: Any = None,
    dtype: str | None = None,
) -> Any:
    """The encoder's graph on symbolic inputs: (B, T) ids and mask to (B, T, D), with fresh layers."""
    # Layers
    # The one row of a table of one segment is everybody's; several need to be told apart.
    num_segments = config.num_segments if segment_ids is not None or config.num_segments == 1 else 0
    embeddings = build_embeddings(config, config.vocabulary_size, num_segments, "embeddings", dtype)
    position_bias = build_position_bias(config, "position_bias", bidirectional=True, dtype=dtype)
    blocks = [build_encoder_block(config, f"encoder_block_{i}", dtype, i) for i in range(config.num_blocks)]
    final_norm = build_norm(config, "final_norm", dtype)

    # Graph
    x = embeddings(token_ids, segment_ids=segment_ids)
    bias = {} if position_bias is None else {"attention_bias": position_bias(token_ids)}
    for layer in range(config.num_layers):
        x = blocks[config.block_of_layer(layer)](x, padding_mask=padding_mask, **bias)
    return x if final_norm is None else final_norm(x)


def encoder_inputs(config: TransformerConfig) -> tuple[str, ...]:
    """The names of the inputs that an encoder of this config takes."""
    common = ("token_ids", "padding_mask")
    return (*common, "segment_ids") if config.num_segments > 1 else common
