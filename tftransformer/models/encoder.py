"""Encoders: a config becomes a plain functional model with named layers."""

import keras

from tftransformer.config import TransformerConfig
from tftransformer.layers.embeddings import TransformerEmbedding
from tftransformer.layers.encoder_block import EncoderBlock


def build_encoder(config: TransformerConfig, dtype: str | None = None, name: str = "encoder") -> keras.Model:
    """A functional encoder: token ids in, one vector a token out.

    Args:
        config: Sizes and choices; `config.family` must be one that encodes.
        dtype: Keras dtype policy of every layer, such as "mixed_bfloat16". None: the global one.
        name: Of the model.

    Returns:
        A `keras.Model` from a dict of `token_ids` (B, T), `padding_mask` (B, T, 1 at real tokens) and,
        where the config has segments, `segment_ids` (B, T), to the last block's output (B, T, D). Layers are
        named `embeddings`, `encoder_block_0`, ...; `keras.Model(encoder.input,
        encoder.get_layer("encoder_block_3").output)` looks inside.

    Example:
        >>> config = TransformerConfig(vocabulary_size=100, num_layers=2, hidden_dim=16, num_heads=2,
        ...                            intermediate_dim=32, max_sequence_length=64)
        >>> encoder = build_encoder(config)
        >>> ids = keras.ops.ones((2, 7), "int32")
        >>> encoder({"token_ids": ids, "padding_mask": ids, "segment_ids": ids * 0}).shape
        TensorShape([2, 7, 16])
    """
    # Layers
    inputs = {key: keras.Input((None,), dtype="int32", name=key) for key in encoder_inputs(config)}
    embeddings = TransformerEmbedding(
        config.vocabulary_size,
        config.hidden_dim,
        max_length=config.max_sequence_length,
        position=config.position,
        num_segments=config.num_segments,
        norm=config.embedding_norm,
        scale=config.scale_embeddings,
        dropout=config.dropout,
        layer_norm_epsilon=config.layer_norm_epsilon,
        dtype=dtype,
        name="embeddings",
    )
    blocks = [build_encoder_block(config, f"encoder_block_{i}", dtype) for i in range(config.num_layers)]

    # Graph
    x = embeddings(inputs["token_ids"], segment_ids=inputs.get("segment_ids"))
    for block in blocks:
        x = block(x, padding_mask=inputs["padding_mask"])
    if config.normalize_first:
        norm = keras.layers.LayerNormalization(epsilon=config.layer_norm_epsilon, dtype=dtype, name="final_norm")
        x = norm(x)
    return keras.Model(inputs, x, name=name)


def build_encoder_block(config: TransformerConfig, name: str, dtype: str | None = None) -> EncoderBlock:
    """One encoder block of the sizes and choices of a config."""
    return EncoderBlock(
        config.num_heads,
        config.intermediate_dim,
        head_dim=config.head_dim,
        num_key_value_heads=config.num_key_value_heads,
        dropout=config.dropout,
        attention_dropout=config.attention_dropout,
        activation=config.activation,
        gated=config.gated,
        use_bias=config.use_bias,
        normalize_first=config.normalize_first,
        layer_norm_epsilon=config.layer_norm_epsilon,
        kernel_initializer=keras.initializers.TruncatedNormal(stddev=0.02),
        dtype=dtype,
        name=name,
    )


def encoder_inputs(config: TransformerConfig) -> tuple[str, ...]:
    """The names of the inputs that an encoder of this config takes."""
    return ("token_ids", "padding_mask", "segment_ids") if config.num_segments else ("token_ids", "padding_mask")
