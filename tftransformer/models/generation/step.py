"""Running a decoder token by token with a key-value cache: the step that every generation loop repeats."""

from typing import Any

import keras

from tftransformer.errors import TransformerError
from tftransformer.models.decoder_walk import DecodingState, decoder_stack_of, step_decoder


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
    stack = decoder_stack_of(model)
    embeddings = stack.embeddings
    # A length that a graph knows only when it runs is the table's to check.
    known = isinstance(length, int)
    if embeddings.position_kind == "learned" and known and length > embeddings.sequence_length:
        raise TransformerError(
            f"length must be at most {embeddings.sequence_length}, the rows of the learned position table; got {length}"
        )
    return DecodingState(
        tuple(block.empty_cache(batch_size, length) for block in stack.blocks),
        tuple(None if memory is None else block.memory_keys_and_values(memory) for block in stack.blocks),
        memory_padding_mask,
    )


def decode_step(
    model: keras.Model,
    token_ids: Any,
    state: DecodingState,
    index: Any,
    padding_mask: Any = None,
    position_ids: Any = None,
    last: bool = False,
) -> tuple[Any, DecodingState]:
    """Logits of the tokens after the given ones, and the state with them added.

    Args:
        model: Model of `build_decoder` or `build_encoder_decoder`.
        token_ids: Ids (B, T), a prompt or the last token; T = 1 in a loop.
        state: State from `start_decoding` or the step before.
        index: Position of the first of these tokens: the number of tokens before.
        padding_mask: Mask (B, length), 1 at real tokens of the whole cache; the causal mask hides what is not yet
            written.
        position_ids: Position (B, T) of each token in its text, where texts begin behind padding; default: `index` and
            what follows it. Positions that enter the attention do so by distance, which padding does not change.
        last: Whether to give the logits of the last of the tokens alone, (B, 1, V), which of a prompt saves most of the work.

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
    return step_decoder(decoder_stack_of(model), token_ids, state, index, padding_mask, position_ids, last)
