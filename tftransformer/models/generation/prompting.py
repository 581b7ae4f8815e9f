"""From prompts to texts: `generate` runs a decoder, with its cache, by any search; `stream` token by token."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

import keras
import numpy as np
from keras import ops

from tftransformer.errors import TransformerError, check_whole
from tftransformer.models.generation.constraints import Progress
from tftransformer.models.generation.decoder_run import DecoderRun, Generated
from tftransformer.models.generation.sampling import Greedy, OneByOne


class Search(Protocol):
    """A way to find texts: `Greedy`, `Sampling`, `BeamSearch`, or another one."""

    def run(self, decoder: DecoderRun) -> Generated:
        """The texts that go on from the prompts of a run."""


def generate(
    model: keras.Model,
    token_ids: Any,
    padding_mask: Any = None,
    *,
    max_new_tokens: int,
    search: Search = Greedy(),
    constraints: Sequence[Callable[[Any, Progress], Any]] = (),
    end_tokens: Sequence[int] = (),
    pad_token: int = 0,
    memory: Any = None,
    memory_padding_mask: Any = None,
) -> Generated:
    """Texts that go on from prompts.

    The keys and values of what is there are kept, so that each new token costs one position of the model. It is one
    loop of TensorFlow operations: inside a `tf.function` the whole search is in the graph, and an export can hold it.

    Args:
        model: Model of `build_decoder` or `build_encoder_decoder`.
        token_ids: Prompts (B, P). An encoder-decoder has the token that its texts begin with as the prompt.
        padding_mask: (B, P), 1 at real tokens; padding may be on either side. None: all are real.
        max_new_tokens: Number of tokens after which a text ends at the latest.
        search: `Greedy()`, `Sampling(...)` or `BeamSearch(...)`.
        constraints: Changes of the scores before the search sees them, in this order (`constraints.py`).
        end_tokens: Ids that end a text. Without any, all texts are `max_new_tokens` long.
        pad_token: Id that fills the places behind the end.
        memory: Output (B, S, D) of the encoder, for an encoder-decoder: `walk(stack_of(model, config), {"token_ids": ...,
            "padding_mask": ...})`.
        memory_padding_mask: (B, S), 1 at real tokens.

    Returns:
        The new tokens, their numbers and their scores.

    Raises:
        TransformerError: A value out of its range, prompts without a column, or a length that the model does not have.

    Example:
        >>> config = TransformerConfig("gpt2", vocabulary_size=100, num_layers=1, hidden_dim=16, num_heads=2,
        ...                            intermediate_dim=32, max_sequence_length=64)
        >>> model, prompts = build_decoder(config), np.array([[5, 6, 7], [8, 9, 0]])
        >>> texts = generate(model, prompts, prompts > 0, max_new_tokens=4, end_tokens=[1], search=BeamSearch(2))
        >>> texts.token_ids.shape
        TensorShape([2, 1, 4])
    """
    prompted = {"memory": memory, "memory_padding_mask": memory_padding_mask}
    return search.run(
        _prepare(model, token_ids, padding_mask, max_new_tokens, constraints, end_tokens, pad_token, **prompted)
    )


def stream(
    model: keras.Model,
    token_ids: Any,
    padding_mask: Any = None,
    *,
    max_new_tokens: int,
    search: OneByOne = Greedy(),
    constraints: Sequence[Callable[[Any, Progress], Any]] = (),
    end_tokens: Sequence[int] = (),
    pad_token: int = 0,
    memory: Any = None,
    memory_padding_mask: Any = None,
) -> Iterator[np.ndarray]:
    """The tokens that `generate` finds, each as soon as it is known.

    The layers are called from Python, which costs some milliseconds a block and token; `generate` in a graph does not.

    Args:
        search: `Greedy()` or `Sampling(...)`; a beam search knows no token before the end.
        model, token_ids, padding_mask, max_new_tokens, constraints, end_tokens, pad_token, memory, memory_padding_mask:
            As for `generate`.

    Yields:
        (B,) int32, at most `max_new_tokens` times; the pad token in rows that have ended.

    Raises:
        TransformerError: As for `generate`; a search that does not settle one token before the next.

    Example:
        >>> config = TransformerConfig("gpt2", vocabulary_size=100, num_layers=1, hidden_dim=16, num_heads=2,
        ...                            intermediate_dim=32, max_sequence_length=64)
        >>> [tokens.shape for tokens in stream(build_decoder(config), [[5, 6, 7]], max_new_tokens=2)]
        [(1,), (1,)]
    """
    if not isinstance(search, OneByOne):
        raise TransformerError(f"search must be Greedy or Sampling to stream; got {search!r}")
    prompted = {"memory": memory, "memory_padding_mask": memory_padding_mask}
    return search.tokens(
        _prepare(model, token_ids, padding_mask, max_new_tokens, constraints, end_tokens, pad_token, **prompted)
    )


def _prepare(
    model: keras.Model,
    token_ids: Any,
    padding_mask: Any,
    max_new_tokens: int,
    constraints: Sequence[Callable[[Any, Progress], Any]],
    end_tokens: Sequence[int],
    pad_token: int,
    **memory: Any,
) -> DecoderRun:
    """The prompts with their ends in one column, where the new tokens begin, and the decoder."""
    check_whole("max_new_tokens", max_new_tokens)
    check_whole("pad_token", pad_token, 0)
    for token in end_tokens:
        check_whole("end_tokens", token, 0)
    token_ids = ops.cast(ops.convert_to_tensor(token_ids), "int32")
    if len(token_ids.shape) != 2 or token_ids.shape[1] == 0:
        raise TransformerError(f"token_ids must be prompts (B, P) of at least one token; got {token_ids.shape}")
    written = ops.ones_like(token_ids) if padding_mask is None else ops.cast(padding_mask, "int32")
    if tuple(written.shape) != tuple(token_ids.shape):
        raise TransformerError(
            f"padding_mask must be of the shape of token_ids, {token_ids.shape}; got {written.shape}"
        )
    order = ops.argsort(written * ops.shape(token_ids)[1] + ops.arange(ops.shape(token_ids)[1], dtype="int32"), axis=1)
    token_ids, written = (ops.take_along_axis(part, order, axis=1) for part in (token_ids, written))
    prompts, length = ops.shape(token_ids)
    return DecoderRun(
        model,
        ops.concatenate([token_ids, ops.full((prompts, max_new_tokens), pad_token, "int32")], axis=1),
        ops.concatenate([written > 0, ops.ones((prompts, max_new_tokens), "bool")], axis=1),
        length,
        max_new_tokens,
        tuple(end_tokens),
        pad_token,
        tuple(constraints),
        **memory,
    )
