"""The shape of every variable of an encoder, from its config alone: no model is built, no memory taken."""

import math
from collections.abc import Iterator

from tftransformer.config import TransformerConfig

Shape = tuple[int, ...]


def encoder_shapes(config: TransformerConfig) -> dict[str, Shape]:
    """What `patterns.addresses(build_encoder(config))` would have, by address.

    It lets a checkpoint be checked against its own configuration before a model takes any memory.

    Args:
        config: Config of an encoder with learned or sinusoidal positions, post-norm, as the pretrained families are.

    Example:
        >>> config = TransformerConfig(vocabulary_size=9, num_layers=1, hidden_dim=4, num_heads=2, intermediate_dim=8)
        >>> encoder_shapes(config)["encoder_block_0/attention/query/kernel"]
        (4, 4)
    """
    return dict(_shapes(config))


def count_parameters(config: TransformerConfig) -> int:
    """Parameters of the encoder, heads and poolers left out.

    Example:
        >>> count_parameters(TransformerConfig(vocabulary_size=30522, num_layers=12, hidden_dim=768, num_heads=12,
        ...                                    intermediate_dim=3072))
        108891648
    """
    return sum(math.prod(shape) for shape in encoder_shapes(config).values())


def _shapes(config: TransformerConfig) -> Iterator[tuple[str, Shape]]:
    width, inner = config.hidden_dim, config.intermediate_dim
    table = config.embedding_dim or width
    yield "embeddings/token/embeddings", (config.vocabulary_size, table)
    if config.position == "learned":
        rows = config.max_sequence_length + config.position_offset
        yield "embeddings/position/embeddings", (rows, table)
    if config.num_segments:
        yield "embeddings/segment/embeddings", (config.num_segments, table)
    if config.embedding_norm:
        yield from _norm("embeddings/norm", table)
    if config.embedding_dim is not None:
        yield from _dense("embeddings/projection", table, width, True)
    bias = config.use_bias
    for i in range(config.num_blocks):
        block = f"encoder_block_{i}"
        heads, narrow = (number * config.head_dim for number in config.heads_of_block(i))
        yield from _dense(f"{block}/attention/query", width, heads, bias)
        yield from _dense(f"{block}/attention/key", width, narrow, bias)
        yield from _dense(f"{block}/attention/value", width, narrow, bias)
        yield from _dense(f"{block}/attention/output", heads, width, bias)
        yield from _norm(f"{block}/attention_norm", width)
        yield from _dense(f"{block}/feed_forward/intermediate", width, inner, bias)
        if config.gated:
            yield from _dense(f"{block}/feed_forward/gate", width, inner, bias)
        yield from _dense(f"{block}/feed_forward/output", inner, width, bias)
        yield from _norm(f"{block}/feed_forward_norm", width)
    if config.normalize_first:
        yield from _norm("final_norm", width)


def _dense(address: str, rows: int, columns: int, bias: bool) -> Iterator[tuple[str, Shape]]:
    yield f"{address}/kernel", (rows, columns)
    if bias:
        yield f"{address}/bias", (columns,)


def _norm(address: str, width: int) -> Iterator[tuple[str, Shape]]:
    yield f"{address}/gamma", (width,)
    yield f"{address}/beta", (width,)
