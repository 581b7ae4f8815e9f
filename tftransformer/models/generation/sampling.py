"""One token after the other: the likeliest, or one that is drawn."""

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
from keras import ops

from tftransformer.errors import check_whole
from tftransformer.models.generation.decoder_run import DecoderRun, Generated
from tftransformer.models.generation.settings import check_sampling


class OneByOne:
    """A search that settles each token before the next, for each row by itself."""

    def chooser(self, decoder: DecoderRun) -> Callable[[Any, Any], Any]:
        """A function of scores (R, V) and the number of tokens so far, which gives the ids (R,) that come next."""
        raise NotImplementedError

    def run(self, decoder: DecoderRun) -> Generated:
        """The texts that the search finds; `generate` calls it."""
        begin, goes_on, turn = self._loop(decoder)
        _, tokens, _, likelihood, *_ = ops.while_loop(goes_on, turn, begin)
        new = ops.expand_dims(tokens[:, decoder.prompt_length :], 1)
        return Generated(new, decoder.lengths(new), ops.expand_dims(likelihood, 1))

    def tokens(self, decoder: DecoderRun) -> Iterator[np.ndarray]:
        """The new tokens (R,), one place of all rows at a time; `stream` calls it."""
        variables, goes_on, turn = self._loop(decoder)
        while goes_on(*variables):
            place = int(variables[0])
            variables = turn(*variables)
            yield ops.convert_to_numpy(variables[1][:, place])

    def _loop(self, decoder: DecoderRun) -> tuple[tuple, Callable[..., Any], Callable[..., tuple]]:
        """The variables before the first token, whether there is another turn, and what one makes of them."""
        choose, start, end = self.chooser(decoder), decoder.prompt_length, decoder.length
        logits, state = decoder.prompted()

        def goes_on(index: Any, tokens: Any, finished: Any, *_: Any) -> Any:
            return (index < end) & ~ops.all(finished)

        def turn(index: Any, tokens: Any, finished: Any, likelihood: Any, logits: Any, caches: Any) -> tuple:
            scores = decoder.constrained(logits, tokens, index)
            chosen = choose(scores, index - start)
            gained = ops.take_along_axis(ops.log_softmax(scores, axis=-1), ops.expand_dims(chosen, 1), axis=1)[:, 0]
            chosen = ops.where(finished, decoder.pad_token, chosen)
            likelihood = likelihood + ops.where(finished, 0.0, gained)
            tokens = decoder.with_column(tokens, chosen, index)
            logits, caches = decoder.step(chosen, state._replace(caches=caches), index)
            return index + 1, tokens, finished | decoder.ends(chosen), likelihood, logits, caches

        nothing = ops.zeros((ops.shape(decoder.token_ids)[0],), "float32")
        begin = (ops.cast(start, "int32"), decoder.token_ids, nothing > 0, nothing, logits, state.caches)
        return begin, goes_on, turn


@dataclasses.dataclass(frozen=True)
class Greedy(OneByOne):
    """The likeliest token, each time.

    Example:
        >>> Greedy()
        Greedy()
    """

    def chooser(self, decoder: DecoderRun) -> Callable[[Any, Any], Any]:
        return lambda scores, step: ops.cast(ops.argmax(scores, axis=-1), "int32")


@dataclasses.dataclass(frozen=True)
class Sampling(OneByOne):
    """A token drawn by its probability.

    The probabilities of what is left by `top_k`, `top_p` and `min_p`, in this order, are scaled to a sum of 1.

    Args:
        temperature: Scores are divided by it before they become probabilities; below 1 for likelier tokens.
        top_k: Only so many likeliest tokens (Fan et al. 2018, arXiv 1805.04833). None: all.
        top_p: Only the likeliest tokens that have this much of the probability together (Holtzman et al. 2019, arXiv
            1904.09751). 1: all.
        min_p: Only tokens that are this many times as probable as the likeliest (Nguyen et al. 2024, arXiv
            2407.01082). 0: all.
        seed: Seed of the draws. One seed gives one text for a prompt in its place of the batch. None: another one each
            time a graph is built.

    Raises:
        TransformerError: A value out of its range.

    Example:
        >>> Sampling(temperature=0.7, top_p=0.9, seed=1).top_k is None
        True
    """

    temperature: float = 1.0
    top_k: int | None = None
    top_p: float = 1.0
    min_p: float = 0.0
    seed: int | None = None

    def __post_init__(self) -> None:
        check_sampling(self.temperature, self.top_k, self.top_p, self.min_p)
        if self.seed is not None:
            check_whole("seed", self.seed, 0)

    def chooser(self, decoder: DecoderRun) -> Callable[[Any, Any], Any]:
        rows = ops.shape(decoder.token_ids)[0]
        # One number for each token of each row; drawn before the loop, whose turns are all alike to a random operation.
        draws = keras.random.uniform((decoder.max_new_tokens, rows), seed=self.seed)
        return lambda scores, step: self.draw(scores, ops.take(draws, step, axis=0))

    def draw(self, scores: Any, uniform: Any) -> Any:
        """The tokens that numbers stand for.

        Args:
            scores: Logits (R, V).
            uniform: Numbers (R,) from 0 to 1.

        Returns:
            Ids (R,): of the tokens that are left, the likeliest first, the one that the number falls into when they
            lie side by side, each as wide as its probability.
        """
        kept = scores.shape[-1] if self.top_k is None else min(self.top_k, scores.shape[-1])
        values, ids = ops.top_k(scores / self.temperature, k=kept)
        weights = ops.exp(values - values[:, :1])  # the probabilities, times a number
        upto = ops.cumsum(weights, axis=-1)
        left = (upto - weights < self.top_p * upto[:, -1:]) & (weights >= self.min_p) & (values > -float("inf"))
        upto = ops.cumsum(ops.where(left, weights, 0.0), axis=-1)
        place = ops.sum(ops.cast(upto <= ops.expand_dims(uniform, 1) * upto[:, -1:], "int32"), axis=-1)
        # Where rounding leads past what is left, its last token.
        place = ops.maximum(ops.minimum(place, ops.sum(ops.cast(left, "int32"), axis=-1) - 1), 0)
        return ops.cast(ops.take_along_axis(ids, ops.expand_dims(place, 1), axis=1)[:, 0], "int32")
