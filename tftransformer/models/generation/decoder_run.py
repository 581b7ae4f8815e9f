"""A decoder at work on prompts: what every search needs of the model, the prompts and the rules."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import keras
from keras import ops

from tftransformer.models.generation.constraints import Progress
from tftransformer.models.generation.step import DecodingState, decode_step, start_decoding


class Generated(NamedTuple):
    """Texts that a search found, the best first.

    Attributes:
        token_ids: New tokens (B, K, T), K the number of texts a prompt and T `max_new_tokens`; the end token is among
            them, and the pad token behind it.
        lengths: Number (B, K) of new tokens, the end token counted.
        scores: (B, K) float32: the sum of the tokens' log-probabilities, after the constraints; for a beam search
            divided by the length to the power of the penalty.
    """

    token_ids: Any
    lengths: Any
    scores: Any


@dataclasses.dataclass(frozen=True)
class DecoderRun:
    """Prompts and the decoder that goes on with them; R is the number of rows.

    Args:
        model: Model of `build_decoder` or `build_encoder_decoder`.
        token_ids: (R, L) int32: padding, the prompt and room for the new tokens.
        written: (R, L) bool: False at the padding before the prompt, True at the prompt and behind it.
        prompt_length: Number of columns before the new tokens.
        max_new_tokens: Number of columns for them.
        end_tokens: Ids that end a text.
        pad_token: Id behind the end of a text.
        constraints: Functions of scores (R, V) and a `Progress`.
        memory, memory_padding_mask: The encoder's output (R, S, D) and its mask.
    """

    model: keras.Model
    token_ids: Any
    written: Any
    prompt_length: Any
    max_new_tokens: int
    end_tokens: tuple[int, ...]
    pad_token: int
    constraints: tuple[Callable[[Any, Progress], Any], ...] = ()
    memory: Any = None
    memory_padding_mask: Any = None

    @functools.cached_property
    def length(self) -> Any:
        """L, as a tensor: prompts and new tokens."""
        return ops.cast(self.prompt_length + self.max_new_tokens, "int32")

    @functools.cached_property
    def _padding(self) -> Any:
        """(R, 1) int32: the number of columns before each prompt."""
        return ops.sum(1 - ops.cast(self.written, "int32"), axis=1, keepdims=True)

    def prompted(self) -> tuple[Any, DecodingState]:
        """Scores (R, V) of the first new token, and the state with the prompts in it."""
        rows = ops.shape(self.token_ids)[0]
        state = start_decoding(
            self.model, rows, self.prompt_length + self.max_new_tokens, self.memory, self.memory_padding_mask
        )
        columns = ops.expand_dims(ops.arange(self.prompt_length, dtype="int32"), 0)
        logits, state = decode_step(
            self.model,
            self.token_ids[:, : self.prompt_length],
            state,
            0,
            ops.cast(self.written, "int32"),
            ops.maximum(columns - self._padding, 0),
            last=True,
        )
        return _of_rows(logits, self.token_ids), state

    def step(self, chosen: Any, state: DecodingState, index: Any) -> tuple[Any, tuple]:
        """Scores (R, V) after the tokens (R,) of column `index`, and the caches with them in it."""
        beams = ops.shape(chosen)[0] // ops.shape(self.token_ids)[0]
        written, padding = (ops.repeat(part, beams, axis=0) for part in (self.written, self._padding))
        ids = ops.expand_dims(chosen, 1)
        logits, state = decode_step(self.model, ids, state, index, ops.cast(written, "int32"), index - padding)
        return _of_rows(logits, chosen), state.caches

    def constrained(self, scores: Any, token_ids: Any, index: Any) -> Any:
        """Scores (R, V) for column `index` of rows (R, L), after the constraints."""
        if not self.constraints:
            return scores
        beams = ops.shape(token_ids)[0] // ops.shape(self.token_ids)[0]
        columns = ops.expand_dims(ops.arange(ops.shape(token_ids)[1], dtype="int32"), 0)
        written = ops.repeat(self.written, beams, axis=0) & (columns < index)
        progress = Progress(token_ids, written, index, index - self.prompt_length, self.end_tokens)
        for constraint in self.constraints:
            scores = constraint(scores, progress)
        return scores

    def with_column(self, token_ids: Any, chosen: Any, index: Any) -> Any:
        """Rows (..., L) with tokens (...) in column `index`."""
        columns = ops.arange(ops.shape(token_ids)[-1], dtype="int32")
        return ops.where(columns == index, ops.expand_dims(chosen, -1), token_ids)

    def ends(self, token_ids: Any) -> Any:
        """Return which of some tokens end a text."""
        found = token_ids != token_ids
        for token in self.end_tokens:
            found = found | (token_ids == token)
        return found

    def lengths(self, new: Any) -> Any:
        """Number (B, K) of the tokens (B, K, T) up to the end token, which counts."""
        ends = ops.cast(self.ends(new), "int32")
        return ops.sum(ops.cast(ops.cumsum(ends, axis=-1) - ends == 0, "int32"), axis=-1)


def _of_rows(logits: Any, rows: Any) -> Any:
    """Logits (R, 1, V) without their middle axis; a number of rows that is known before a loop stays known in it."""
    return ops.reshape(logits, (ops.shape(rows)[0], logits.shape[-1]))
