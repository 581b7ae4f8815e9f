"""Constraints on generated text: changes of the scores of the next token before a search chooses among them.

A constraint is called with the scores (R, V) of the next token, which are logits, or log-probabilities in a beam
search, and a `Progress`; it gives scores (R, V). A score of -inf excludes a token. Any such function is a constraint.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from keras import ops

from tftransformer.errors import TransformerError, check_whole
from tftransformer.models.generation.settings import check_positive


class Progress(NamedTuple):
    """The rows of a search so far; R is the number of rows: prompts, times beams.

    Attributes:
        token_ids: (R, L) int32: prompts, what was generated, and room.
        written: (R, L) bool: which of them are real, neither padding nor room.
        index: The column that comes next.
        generated: Number of tokens generated so far.
        end_tokens: Ids that end a text.
    """

    token_ids: Any
    written: Any
    index: Any
    generated: Any
    end_tokens: tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class RepetitionPenalty:
    """Makes tokens of the prompt and of the text so far less likely (CTRL; Keskar et al. 2019, arXiv 1909.05858).

    Args:
        penalty: Positive scores are divided by it, negative ones multiplied; above 1 against repetition. 1.2 is the
            paper's.

    Raises:
        TransformerError: `penalty` is not a positive number.
    """

    penalty: float = 1.2

    def __post_init__(self) -> None:
        check_positive("penalty", self.penalty)

    def __call__(self, scores: Any, progress: Progress) -> Any:
        seen = _occur(progress.token_ids, progress.written, ops.shape(scores))
        return ops.where(seen, ops.where(scores > 0, scores / self.penalty, scores * self.penalty), scores)


@dataclasses.dataclass(frozen=True)
class NoRepeatNgrams:
    """No n tokens in a row twice, those of the prompt counted (Paulus et al. 2017, arXiv 1705.04304).

    Args:
        n: Length of what must not come again; 1 lets no token come twice.

    Raises:
        TransformerError: `n` is not a positive integer.
    """

    n: int

    def __post_init__(self) -> None:
        check_whole("n", self.n)

    def __call__(self, scores: Any, progress: Progress) -> Any:
        ids, before = progress.token_ids, self.n - 1
        columns = ops.arange(ops.shape(ids)[1], dtype="int32")
        # Where a column ends an n-gram like the one that would end in the next column.
        same = progress.written & (columns >= before)
        for back in range(1, self.n):
            last = ops.take(ids, ops.reshape(ops.maximum(progress.index - back, 0), (1,)), axis=1)
            same = same & ops.roll(progress.written, back, axis=1) & (ops.roll(ids, back, axis=1) == last)
        repeated = _occur(ids, same, ops.shape(scores))
        return ops.where(repeated & (progress.index >= before), _never(scores), scores)


@dataclasses.dataclass(frozen=True)
class MinLength:
    """No end before some tokens.

    Args:
        tokens: Number of generated tokens before which no end token may come.

    Raises:
        TransformerError: `tokens` is not a positive integer.
    """

    tokens: int

    def __post_init__(self) -> None:
        check_whole("tokens", self.tokens)

    def __call__(self, scores: Any, progress: Progress) -> Any:
        ends = _one_of(progress.end_tokens, scores.shape[-1])
        return ops.where(ends & (progress.generated < self.tokens), _never(scores), scores)


@dataclasses.dataclass(frozen=True)
class Banned:
    """Tokens that never come.

    Args:
        token_ids: Their ids.

    Raises:
        TransformerError: None is given, or one is not an id of the model's vocabulary.
    """

    token_ids: Sequence[int]

    def __post_init__(self) -> None:
        _check_ids("token_ids", self.token_ids)
        object.__setattr__(self, "token_ids", tuple(self.token_ids))

    def __call__(self, scores: Any, progress: Progress) -> Any:
        return ops.where(_one_of(self.token_ids, scores.shape[-1]), _never(scores), scores)


@dataclasses.dataclass(frozen=True)
class Forced:
    """The first generated tokens are given, such as the name of the language that mBART translates into.

    They are certain: whatever was banned before, and a beam loses no score by them, as in Hugging Face's.

    Args:
        token_ids: Their ids, in order.

    Raises:
        TransformerError: None is given, or one is not an id of the model's vocabulary.
    """

    token_ids: Sequence[int]

    def __post_init__(self) -> None:
        _check_ids("token_ids", self.token_ids)
        object.__setattr__(self, "token_ids", tuple(self.token_ids))

    def __call__(self, scores: Any, progress: Progress) -> Any:
        for place, token in enumerate(self.token_ids):
            certain = ops.where(_one_of((token,), scores.shape[-1]), ops.zeros_like(scores), _never(scores))
            scores = ops.where(progress.generated == place, certain, scores)
        return scores


def _check_ids(name: str, ids: Any) -> None:
    if isinstance(ids, (str, int)) or not len(ids):
        raise TransformerError(f"{name} must be a list of token ids; got {ids!r}")
    for token in ids:
        check_whole(name, token, 0)


def _never(scores: Any) -> Any:
    return ops.full_like(scores, -float("inf"))


def _one_of(ids: Sequence[int], vocabulary_size: int) -> Any:
    """(1, V) bool: which ids are among some."""
    chosen = np.zeros((1, vocabulary_size), "bool")
    for token in ids:
        if token >= vocabulary_size:
            raise TransformerError(f"token id {token} is not in the model's vocabulary of {vocabulary_size}")
        chosen[0, token] = True
    return ops.convert_to_tensor(chosen)


def _occur(token_ids: Any, chosen: Any, shape: Any) -> Any:
    """(R, V) bool: which tokens are among those of (R, L) ids that are chosen."""
    rows = ops.broadcast_to(ops.expand_dims(ops.arange(shape[0], dtype="int32"), 1), ops.shape(token_ids))
    places = ops.reshape(ops.stack([rows, token_ids], axis=-1), (-1, 2))
    return ops.scatter(places, ops.cast(ops.reshape(chosen, (-1,)), "int32"), shape) > 0
