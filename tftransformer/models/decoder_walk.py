"""The one way through a decoder: over whole texts, as in training, or token by token with a cache, as in generation.

As `walk` does for encoders, it runs on symbolic inputs, which makes the graphs of `build_decoder` and
`build_encoder_decoder`, and on real ones. Block n is tapped (`layers.taps`) as `decoder_block_{n}`.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import keras

from tftransformer.config import TransformerConfig
from tftransformer.layers.heads import LogitsBias
from tftransformer.layers.projection import Projection
from tftransformer.layers.taps import tap
from tftransformer.models.blocks import build_decoder_block, build_embeddings, build_norm, build_position_bias


class DecoderStack(NamedTuple):
    """The layers of a decoder in the order in which they run.

    Attributes:
        table: Layer with the token table; the encoder's, where both sides share it.
        embeddings: Layer from token ids to vectors, or where the table is another layer's, from its rows.
        position_bias: Layer that makes the bias on the scores of all blocks; None where positions enter elsewhere.
        blocks: Blocks, with a cross-attention each where there is a memory.
        final_norm: Norm behind the last block of a pre-norm decoder; None in the others.
        lm_head: Projection to the vocabulary; None where the token table is that, too.
        scale: Layer that scales the vectors before the projection; None as a rule.
        bias: Layer that adds a bias to the logits; None as a rule.
        logits: Layer that keeps the result in float32.
    """

    table: keras.layers.Layer
    embeddings: keras.layers.Layer
    position_bias: keras.layers.Layer | None
    blocks: tuple[keras.layers.Layer, ...]
    final_norm: keras.layers.Layer | None
    lm_head: keras.layers.Layer | None
    scale: keras.layers.Layer | None
    bias: keras.layers.Layer | None
    logits: keras.layers.Layer


class DecodingState(NamedTuple):
    """State that a decoding step needs from the steps before it.

    Attributes:
        caches: Pair of (B, K, length, H) keys and values of each block's self-attention.
        memory_caches: Pair of (B, K, S, H) of each block's cross-attention, or None.
        memory_padding_mask: Mask (B, S), or None.
    """

    caches: tuple[tuple[Any, Any], ...]
    memory_caches: tuple[tuple[Any, Any] | None, ...]
    memory_padding_mask: Any


def build_decoder_stack(
    config: TransformerConfig,
    vocabulary_size: int,
    num_layers: int,
    cross_attention: bool,
    table: keras.layers.Layer | None = None,
    dtype: str | None = None,
) -> DecoderStack:
    """Fresh layers for a decoder.

    Args:
        config: Sizes and choices.
        vocabulary_size: V, rows of the token table.
        num_layers: Number of blocks.
        cross_attention: Whether the blocks look at a memory.
        table: Layer whose token table is the decoder's, too. None: the decoder has its own.
        dtype: Keras dtype policy of every layer. None: the global one.
    """
    rows = vocabulary_size if table is None else None
    embeddings = build_embeddings(config, rows, 0, "decoder_embeddings", dtype)
    lm_head = None
    if not config.tie_embeddings:
        lm_head = Projection(vocabulary_size, use_bias=False, dtype=dtype, name="lm_head")
    return DecoderStack(
        embeddings if table is None else table,
        embeddings,
        build_position_bias(config, "decoder_position_bias", bidirectional=False, dtype=dtype),
        tuple(build_decoder_block(config, f"decoder_block_{i}", cross_attention, dtype) for i in range(num_layers)),
        build_norm(config, "decoder_final_norm", dtype),
        lm_head,
        keras.layers.Rescaling(config.hidden_dim**-0.5, dtype=dtype, name="logits_scale")
        if config.scale_logits
        else None,
        LogitsBias(dtype=dtype, name="logits_bias") if config.logits_bias else None,
        # Of its own, so that the loss is computed in float32 whatever the policy of the layers.
        keras.layers.Activation("linear", dtype="float32", name="logits"),
    )


def decoder_stack_of(model: keras.Model) -> DecoderStack:
    """The layers of a built decoder or encoder-decoder.

    Args:
        model: Model of `build_decoder` or `build_encoder_decoder`.

    Example:
        >>> config = TransformerConfig("gpt2", vocabulary_size=50, num_layers=2, hidden_dim=8, num_heads=2,
        ...                            intermediate_dim=16)
        >>> [block.name for block in decoder_stack_of(build_decoder(config)).blocks]
        ['decoder_block_0', 'decoder_block_1']
    """
    layers = {layer.name: layer for layer in model.layers}
    count = sum(name.startswith("decoder_block_") for name in layers)
    embeddings = layers["decoder_embeddings"]
    return DecoderStack(
        layers["embeddings"] if embeddings.token is None else embeddings,
        embeddings,
        layers.get("decoder_position_bias"),
        tuple(layers[f"decoder_block_{i}"] for i in range(count)),
        layers.get("decoder_final_norm"),
        layers.get("lm_head"),
        layers.get("logits_scale"),
        layers.get("logits_bias"),
        layers["logits"],
    )


def walk_decoder(stack: DecoderStack, inputs: Mapping[str, Any], training: bool | None = None) -> Any:
    """The logits that a decoder's layers give of whole texts.

    Args:
        stack: The layers.
        inputs: `token_ids` (B, T) and `padding_mask` (B, T), 1 at real tokens; for blocks with a cross-attention also
            `memory` (B, S, D), such as an encoder's output, and `memory_padding_mask` (B, S).
        training: Whether layers run in training mode, as for a Keras model.

    Returns:
        Logits (B, T, V), float32: those at t are for the token at t + 1.

    Example:
        >>> config = TransformerConfig("gpt2", vocabulary_size=50, num_layers=1, hidden_dim=8, num_heads=2,
        ...                            intermediate_dim=16)
        >>> ids = keras.ops.ones((1, 3), "int32")
        >>> walk_decoder(decoder_stack_of(build_decoder(config)), {"token_ids": ids, "padding_mask": ids}).shape
        TensorShape([1, 3, 50])
    """
    x = _embedded(stack, inputs["token_ids"], training=training)
    given = {name: inputs[name] for name in ("padding_mask", "memory", "memory_padding_mask") if name in inputs}
    if stack.position_bias is not None:
        given["attention_bias"] = stack.position_bias(inputs["token_ids"])
    for block in stack.blocks:
        x = block(x, **given, training=training)
    return _head(stack, x)


def step_decoder(
    stack: DecoderStack,
    token_ids: Any,
    state: DecodingState,
    index: Any,
    padding_mask: Any = None,
    position_ids: Any = None,
    last: bool = False,
) -> tuple[Any, DecodingState]:
    """Logits of the tokens after the given ones, and the state with them added; `generation.decode_step` explains it.

    Args:
        stack: The layers.
        token_ids, state, index, padding_mask, position_ids: As for `decode_step`.
        last: Whether the logits of the last of the tokens alone are wanted: of a prompt, the others would cost most.
    """
    x = _embedded(stack, token_ids, offset=index, position_ids=position_ids)
    bias = None
    if stack.position_bias is not None:
        bias = stack.position_bias(token_ids, key_length=state.caches[0][0].shape[2], offset=index)
    caches = []
    for block, cache, memory_cache in zip(stack.blocks, state.caches, state.memory_caches, strict=True):
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
    return _head(stack, x[:, -1:] if last else x), state._replace(caches=tuple(caches))


def _embedded(stack: DecoderStack, token_ids: Any, **arguments: Any) -> Any:
    given = token_ids if stack.table is stack.embeddings else stack.table(token_ids, lookup=True)
    return stack.embeddings(given, **arguments)


def _head(stack: DecoderStack, x: Any) -> Any:
    if stack.final_norm is not None:
        x = tap("decoder_final_norm", stack.final_norm(x))
    if stack.scale is not None:
        x = stack.scale(x)
    logits = stack.table(x, reverse=True) if stack.lm_head is None else stack.lm_head(x)
    return stack.logits(logits if stack.bias is None else stack.bias(logits))
