"""The parts that encoders and decoders share: a config becomes embeddings, blocks, norms and position biases."""

from typing import Any

import keras

from tftransformer import layers
from tftransformer.config import POSITIONS, TransformerConfig
from tftransformer.errors import TransformerError
from tftransformer.layers.decoder_block import DecoderBlock
from tftransformer.layers.embeddings import TransformerEmbedding
from tftransformer.layers.encoder_block import EncoderBlock
from tftransformer.layers.norms import make_norm
from tftransformer.layers.position_biases import PositionBias


def build_embeddings(
    config: TransformerConfig, vocabulary_size: int | None, num_segments: int, name: str, dtype: str | None = None
) -> TransformerEmbedding:
    """The embeddings, with vectors for positions where the config's scheme is one of vectors."""
    return TransformerEmbedding(
        vocabulary_size,
        config.hidden_dim,
        sequence_length=config.max_sequence_length,
        position=config.position if POSITIONS[config.position].enters == "embeddings" else "none",
        num_segments=num_segments,
        embedding_dim=config.embedding_dim,
        skipped_rows=config.position_offset,
        norm=config.norm if config.embedding_norm else None,
        scale=config.scale_embeddings,
        dropout=config.dropout,
        layer_norm_epsilon=config.layer_norm_epsilon,
        dtype=dtype,
        name=name,
    )


def build_encoder_block(
    config: TransformerConfig, name: str, dtype: str | None = None, block: int | None = None
) -> EncoderBlock:
    """One encoder block of the sizes and choices of a config.

    Args:
        config: The config.
        name: Name of the layer.
        dtype: Keras dtype policy. None: the global one.
        block: Number of the block in the stack, where blocks have unlike numbers of heads. None: heads as in the
            widest.
    """
    return EncoderBlock(**_block_arguments(config, block), dtype=dtype, name=name)


def build_decoder_block(
    config: TransformerConfig, name: str, cross_attention: bool = False, dtype: str | None = None
) -> DecoderBlock:
    """One decoder block of the sizes and choices of a config.

    Raises:
        TransformerError: Blocks have unlike numbers of heads, which is for encoders.
    """
    if isinstance(config.num_heads, tuple):
        raise TransformerError(f"num_heads must be one number in decoders; got {config.num_heads}")
    return DecoderBlock(**_block_arguments(config), cross_attention=cross_attention, dtype=dtype, name=name)


def build_position_bias(
    config: TransformerConfig, name: str, bidirectional: bool, dtype: str | None = None
) -> PositionBias | None:
    """The layer that makes the bias for all blocks of a stack; None where the scheme needs none."""
    scheme = POSITIONS[config.position]
    if scheme.enters != "scores":
        return None
    settings: dict[str, Any] = {}
    if config.position == "relative_buckets":
        settings = {"num_buckets": config.relative_buckets, "max_distance": config.relative_max_distance}
    layer = getattr(layers, scheme.layer)
    return layer.for_stack(config.num_heads, bidirectional, **settings, dtype=dtype, name=name)


def build_norm(config: TransformerConfig, name: str, dtype: str | None = None) -> keras.layers.Layer | None:
    """The norm after the last block of a pre-norm stack; None where the blocks end in a norm themselves."""
    if not config.normalize_first:
        return None
    return make_norm(config.norm, epsilon=config.layer_norm_epsilon, dtype=dtype, name=name)


def _block_arguments(config: TransformerConfig, block: int | None = None) -> dict[str, Any]:
    num_heads, num_key_value_heads = config.heads_of_block(block)
    return {
        "num_heads": num_heads,
        "intermediate_dim": config.intermediate_dim,
        "head_dim": config.head_dim,
        "num_key_value_heads": num_key_value_heads,
        "dropout": config.dropout,
        "attention_dropout": config.attention_dropout,
        "activation": config.activation,
        "gated": config.gated,
        "use_bias": config.use_bias,
        "qkv_bias": config.qkv_bias,
        "normalize_first": config.normalize_first,
        "layer_norm_epsilon": config.layer_norm_epsilon,
        "norm": config.norm,
        "scale": config.scale_attention,
        # One for each block: relative vectors are learned block by block.
        "position": _attention_position(config),
        "kernel_initializer": keras.initializers.TruncatedNormal(stddev=0.02),
    }


def _attention_position(config: TransformerConfig) -> Any:
    scheme = POSITIONS[config.position]
    if scheme.enters != "attention":
        return None
    rotary = {"period": config.rotary_period, "scaling": config.rotary_scaling}
    settings = rotary if config.position == "rotary" else {}
    return getattr(layers, scheme.layer)(**settings)
