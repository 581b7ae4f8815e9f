"""Encoders: a config becomes a plain functional model with named layers."""

import keras

from tftransformer.config import TransformerConfig
from tftransformer.models.walk import build_stack, walk


def build_encoder(config: TransformerConfig, dtype: str | None = None, name: str = "encoder") -> keras.Model:
    """A functional encoder: token ids in, one vector a token out.

    Args:
        config: Sizes and choices; `config.family` must be one that encodes.
        dtype: Keras dtype policy of every layer, such as "mixed_bfloat16". None: the global one.
        name: Name of the model.

    Returns:
        A `keras.Model` from a dict of `token_ids` (B, T), `padding_mask` (B, T, 1 at real tokens) and,
        where the config has several segments, `segment_ids` (B, T), to the last block's output (B, T, D). Layers
        are named `embeddings`, `encoder_block_0`, ... (and `position_bias`, for ALiBi and relative buckets);
        `keras.Model(encoder.input, encoder.get_layer("encoder_block_3").output)` looks inside, and so does
        `layers.tapped`. Where blocks are shared (`num_distinct_blocks`), a layer is applied several times:
        `get_layer("encoder_block_0").get_output_at(3)`.

    Example:
        >>> config = TransformerConfig(vocabulary_size=100, num_layers=2, hidden_dim=16, num_heads=2,
        ...                            intermediate_dim=32, max_sequence_length=64)
        >>> encoder = build_encoder(config)
        >>> ids = keras.ops.ones((2, 7), "int32")
        >>> encoder({"token_ids": ids, "padding_mask": ids, "segment_ids": ids * 0}).shape
        TensorShape([2, 7, 16])
    """
    inputs = {key: keras.Input((None,), dtype="int32", name=key) for key in encoder_inputs(config)}
    return keras.Model(inputs, walk(build_stack(config, config.num_segments, dtype), inputs), name=name)


def encoder_inputs(config: TransformerConfig) -> tuple[str, ...]:
    """The names of the inputs that an encoder of this config takes."""
    common = ("token_ids", "padding_mask")
    return (*common, "segment_ids") if config.num_segments > 1 else common
