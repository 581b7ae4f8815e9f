"""Running a decoder token by token with a key-value cache: the step that every generation loop repeats."""

from typing import Any, NamedTuple

import keras

from tftransformer.errors import TransformerError


class DecodingState(NamedTuple):
    """What a step needs of the steps before it.

    Attributes:
        caches: Pair of (B, K, length, H) keys and values of each block's self-attention.
        memory_caches: Pair of (B, K, S, H) of each block's cross-attention, or None.
        memory_padding_mask: Mask (B, S), or None.
    """

    caches: tuple[tuple[Any, Any], ...]
    memory_caches: tuple[tuple[Any, Any] | None, ...]
    memory_padding_mask: Any


def start_decoding(
    model: keras.Model, batch_size: int, length: int, memory: Any = None, memory_padding_mask: Any = None
) -> DecodingState:
    """The state before the first token.

    Args:
        model: Model of `build_decoder` or `build_encoder_decoder`.
        batch_size: B.
        length: Number of tokens that the cache can hold, prompt and all.
        memory: Output (B, S, D) of the encoder, for an encoder-decoder.
        memory_padding_mask: Mask (B, S), 1 at real tokens.

    Raises:
        TransformerError: `length` is above what a learned position table holds.
    """
    embeddings = model.get_layer("decoder_embeddings")
    if embeddings.position_kind == "learned" and length > embeddings.sequence_length:
        raise TransformerError(
            f"length must be at most {embeddings.sequence_length}, the rows of the learned position table; got {length}"
        )
    blocks = _decoder_blocks(model)
    return DecodingState(
        tuple(block.empty_cache(batch_size, length) for block in blocks),
        tuple(None if memory is None else block.memory_keys_and_values(memory) for block in blocks),
        memory_padding_mask,
    )


def decode_step(
    model: keras.Model, token_ids: Any, state: DecodingState, index: Any, padding_mask: Any = None
) -> tuple[Any, DecodingState]:
    """Logits of the tokens after the given ones, and the state with them added.

    Args:
        model: Model of `build_decoder` or `build_encoder_decoder`.
        token_ids: Ids (B, T), a prompt or the last token; T = 1 in a loop.
        state: State from `start_decoding` or the step before.
        index: Position of the first of these tokens: the number of tokens before.
        padding_mask: Mask (B, length), 1 at real tokens of the whole cache; the causal mask hides what is not yet
            written.

    Returns:
        Logits (B, T, V), equal to those of the whole model on the whole sequence, and the new state.

    Example:
        >>> config = TransformerConfig("gpt2", vocabulary_size=100, num_layers=1, hidden_dim=16, num_heads=2,
        ...                            intermediate_dim=32)
        >>> model = build_decoder(config)
        >>> state = start_decoding(model, batch_size=2, length=8)
        >>> logits, state = decode_step(model, keras.ops.ones((2, 3), "int32"), state, index=0)
        >>> logits, state = decode_step(model, keras.ops.argmax(logits[:, -1:], -1), state, index=3)
        >>> logits.shape
        TensorShape([2, 1, 100])
    """
    embeddings = model.get_layer("decoder_embeddings")
    layers = {layer.name: layer for layer in model.layers}
    x = embeddings(token_ids, offset=index)
    bias = None
    if "decoder_position_bias" in layers:
        length = state.caches[0][0].shape[2]
        bias = layers["decoder_position_bias"](token_ids, key_length=length, offset=index)
    caches = []
    for block, cache, memory_cache in zip(_decoder_blocks(model), state.caches, state.memory_caches, strict=True):
        x, cache = block(
            x,
            padding_mask=padding_mask,
            memory_padding_mask=state.memory_padding_mask,
            attention_bias=bias,
            cache=cache,
            cache_index=index,
            memory_cache=memory_cache,
        )
        caches.append(cache)
    if "decoder_final_norm" in layers:
        x = layers["decoder_final_norm"](x)
    x = layers["lm_head"](x) if "lm_head" in layers else embeddings(x, reverse=True)
    return layers["logits"](x), state._replace(caches=tuple(caches))


def _decoder_blocks(model: keras.Model) -> list[keras.layers.Layer]:
    """`decoder_block_0`, `decoder_block_1`, ... of a model, in order."""
    names = {layer.name for layer in model.layers}
    count = sum(name.startswith("decoder_block_") for name in names)
    return [model.get_layer(f"decoder_block_{i}") for i in range(count)]
