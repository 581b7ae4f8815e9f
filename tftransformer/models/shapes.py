"""The shape of every variable of an encoder, a decoder or both, from its config alone: no model is built, no memory taken."""

import math
from collections.abc import Iterator

from tftransformer.config import TransformerConfig
from tftransformer.models.families import FAMILIES

Shape = tuple[int, ...]


def encoder_shapes(config: TransformerConfig) -> dict[str, Shape]:
    """Return the shapes that `patterns.addresses(build_encoder(config))` would have, by address.

    It lets a checkpoint be checked against its own configuration before a model takes any memory.

    Args:
        config: Config of an encoder without learned vectors in the attention ("relative" positions).

    Example:
        >>> config = TransformerConfig(vocabulary_size=9, num_layers=1, hidden_dim=4, num_heads=2, intermediate_dim=8)
        >>> encoder_shapes(config)["encoder_block_0/attention/query/kernel"]
        (4, 4)
    """
    return dict(_encoder_shapes(config))


def count_parameters(config: TransformerConfig) -> int:
    """Parameters of the encoder, heads and poolers left out.

    Example:
        >>> count_parameters(TransformerConfig(vocabulary_size=30522, num_layers=12, hidden_dim=768, num_heads=12,
        ...                                    intermediate_dim=3072))
        108891648
    """
    return sum(math.prod(shape) for shape in encoder_shapes(config).values())


def decoder_shapes(config: TransformerConfig) -> dict[str, Shape]:
    """Return the shapes that `patterns.addresses(build_decoder(config))` would have, by address.

    Args:
        config: Config of a decoder without learned vectors in the attention ("relative" positions).

    Example:
        >>> config = TransformerConfig("gpt2", vocabulary_size=9, num_layers=1, hidden_dim=4, num_heads=2,
        ...                            intermediate_dim=8)
        >>> decoder_shapes(config)["decoder_block_0/self_attention/query/kernel"]
        (4, 4)
    """
    return dict(_decoder_shapes(config, config.vocabulary_size, config.num_layers, cross_attention=False))


def shapes_of(config: TransformerConfig) -> dict[str, Shape]:
    """The shapes of the network that a checkpoint of the config's family holds, by the family's architecture.

    Example:
        >>> config = TransformerConfig("gpt2", vocabulary_size=9, num_layers=1, hidden_dim=4, num_heads=2,
        ...                            intermediate_dim=8)
        >>> shapes_of(config) == decoder_shapes(config)
        True
    """
    architecture = FAMILIES[config.family].architecture
    if architecture == "encoder_decoder":
        memory = config.decoder_vocabulary_size, config.num_decoder_layers
        return encoder_shapes(config) | dict(_decoder_shapes(config, *memory, cross_attention=True))
    return decoder_shapes(config) if architecture == "decoder" else encoder_shapes(config)


def _encoder_shapes(config: TransformerConfig) -> Iterator[tuple[str, Shape]]:
    segments = config.num_segments
    if FAMILIES[config.family].architecture == "encoder_decoder":
        segments = 1 if segments == 1 else 0
    yield from _embeddings("embeddings", config, config.vocabulary_size, segments)
    yield from _position_bias("position_bias", config)
    for i in range(config.num_blocks):
        yield from _block(f"encoder_block_{i}", ("attention",), config, i)
    if config.normalize_first:
        yield from _norm("final_norm", config)


def _decoder_shapes(
    config: TransformerConfig, vocabulary_size: int, num_layers: int, cross_attention: bool
) -> Iterator[tuple[str, Shape]]:
    rows = None if cross_attention and config.share_embeddings else vocabulary_size
    yield from _embeddings("decoder_embeddings", config, rows, 0)
    yield from _position_bias("decoder_position_bias", config)
    attentions = ("self_attention", *(("cross_attention",) if cross_attention else ()))
    for i in range(num_layers):
        yield from _block(f"decoder_block_{i}", attentions, config, None)
    if config.normalize_first:
        yield from _norm("decoder_final_norm", config)
    if not config.tie_embeddings:
        yield "lm_head/kernel", (config.hidden_dim, vocabulary_size)
    if config.logits_bias:
        yield "logits_bias/bias", (vocabulary_size,)


def _embeddings(
    name: str, config: TransformerConfig, vocabulary_size: int | None, num_segments: int
) -> Iterator[tuple[str, Shape]]:
    table = config.embedding_dim or config.hidden_dim
    if vocabulary_size is not None:
        yield f"{name}/token/embeddings", (vocabulary_size, table)
    if config.position == "learned":
        yield f"{name}/position/embeddings", (config.max_sequence_length + config.position_offset, table)
    if num_segments:
        yield f"{name}/segment/embeddings", (num_segments, table)
    if config.embedding_norm:
        yield from _norm(f"{name}/norm", config, table)
    if config.embedding_dim is not None:
        yield from _dense(f"{name}/projection", table, config.hidden_dim, True)


def _position_bias(name: str, config: TransformerConfig) -> Iterator[tuple[str, Shape]]:
    if config.position == "relative_buckets":
        yield f"{name}/embeddings", (config.relative_buckets, config.heads_of_block(None)[0])


def _block(
    block: str, attentions: tuple[str, ...], config: TransformerConfig, number: int | None
) -> Iterator[tuple[str, Shape]]:
    width, inner, bias = config.hidden_dim, config.intermediate_dim, config.use_bias
    heads, narrow = (count * config.head_dim for count in config.heads_of_block(number))
    for attention in attentions:
        yield from _dense(f"{block}/{attention}/query", width, heads, config.qkv_bias)
        yield from _dense(f"{block}/{attention}/key", width, narrow, config.qkv_bias)
        yield from _dense(f"{block}/{attention}/value", width, narrow, config.qkv_bias)
        yield from _dense(f"{block}/{attention}/output", heads, width, bias)
        yield from _norm(f"{block}/{attention}_norm", config)
    yield from _dense(f"{block}/feed_forward/intermediate", width, inner, bias)
    if config.gated:
        yield from _dense(f"{block}/feed_forward/gate", width, inner, bias)
    yield from _dense(f"{block}/feed_forward/output", inner, width, bias)
    yield from _norm(f"{block}/feed_forward_norm", config)


def _dense(address: str, rows: int, columns: int, bias: bool) -> Iterator[tuple[str, Shape]]:
    yield f"{address}/kernel", (rows, columns)
    if bias:
        yield f"{address}/bias", (columns,)


def _norm(address: str, config: TransformerConfig, width: int | None = None) -> Iterator[tuple[str, Shape]]:
    for name in ("gamma", "beta") if config.norm == "layer" else ("scale",):
        yield f"{address}/{name}", (width or config.hidden_dim,)
