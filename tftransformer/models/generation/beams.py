"""Beam search: several texts at once, the likeliest of all their continuations go on."""

import dataclasses
from typing import Any, NamedTuple

import keras
from keras import ops

from tftransformer.errors import TransformerError
from tftransformer.models.generation.decoder_run import DecoderRun, Generated
from tftransformer.models.generation.settings import check_beams

# Below every score of a real text; finite, so that it can be added to.
_LOWEST = -1e9


class _Group(NamedTuple):
    """Search state of a group of beams; W is the number of its beams.

    `is_open` (B, 1) tells which prompts go on; `live` (B, W, L) and `live_scores` (B, W) are the texts that go on and
    their log-probabilities, `done` (B, W, L) and `done_scores` (B, W) the texts that have ended, the best first, and
    `is_done` (B, W) whether there is such a text.
    """

    is_open: Any
    live: Any
    live_scores: Any
    done: Any
    done_scores: Any
    is_done: Any


@dataclasses.dataclass(frozen=True)
class BeamSearch:
    """The likeliest texts that a search of some width finds, with the rules and results of Hugging Face's.

    A text is judged by the sum of its log-probabilities divided by its length to the power of the penalty (Wu et al.
    2016, arXiv 1609.08144, have a similar one). A finished text is one of the candidates of the best `num_beams`
    continuations; others go on.

    In several groups it is diverse beam search (Vijayakumar et al. 2016, arXiv 1610.02424): each group is a beam search
    of its own, at each token one after the other, and a token loses a penalty for each beam of the groups before that
    took it at the same place, which is their Hamming diversity. The penalty stays in the scores, and the best texts of
    all groups are the result, as in Hugging Face's; beams of prompts that a group is done with do not count.

    Args:
        num_beams: Number of texts that go on at each token; 4 or 5 is usual in translation, more makes texts shorter
            and hardly better (Koehn and Knowles 2017, arXiv 1706.03872).
        length_penalty: Above 0 for longer texts, 0 for the plain sum, below 0 for shorter ones.
        early_stopping: When a prompt is done. True: when `num_beams` texts have ended. False: when, by their present
            length, no text that goes on can be better than those. "never": when none can be at any length.
        num_texts: Number of texts a prompt, at most `num_beams`.
        num_groups: Number of groups that the beams are dealt out to in equal parts; `num_beams` is the most diverse.
        diversity_penalty: Amount that a token loses of its log-probability for each beam of an earlier group that took
            it; the paper's are 0.2 to 0.8. Above 0 where there are groups, which without it would all find the same.

    Raises:
        TransformerError: A value out of its range.

    Example:
        >>> BeamSearch(num_beams=5).num_texts
        1
    """

    num_beams: int = 4
    length_penalty: float = 1.0
    early_stopping: bool | str = False
    num_texts: int = 1
    num_groups: int = 1
    diversity_penalty: float = 0.0

    def __post_init__(self) -> None:
        check_beams(self.num_beams, self.length_penalty, self.num_texts, self.num_groups, self.diversity_penalty)
        if self.early_stopping not in (True, False, "never"):
            raise TransformerError(f'early_stopping must be True, False or "never"; got {self.early_stopping!r}')

    def run(self, decoder: DecoderRun) -> Generated:
        """The texts that the search finds; `generate` calls it."""
        start, end, width = decoder.prompt_length, decoder.length, self.num_beams // self.num_groups
        prompts = ops.shape(decoder.token_ids)[0]
        logits, state = decoder.prompted()
        vocabulary = logits.shape[-1]
        self._check(decoder, vocabulary)

        def goes_on(index: Any, groups: tuple[_Group, ...], *_: Any) -> Any:
            return (index < end) & ops.any(ops.concatenate([group.is_open for group in groups], axis=1))

        def turn(index: Any, groups: tuple[_Group, ...], logits: Any, caches: Any) -> tuple:
            scores = ops.reshape(ops.log_softmax(logits, axis=-1), (prompts, self.num_beams, vocabulary))
            taken = ops.zeros((prompts, 1, vocabulary), "float32")  # by how many beams of the groups before
            found, parents, chosen = [], [], []
            for number, group in enumerate(groups):
                own = scores[:, number * width : (number + 1) * width]
                if number:
                    own = own - self.diversity_penalty * taken
                group, place, token = self._continued(decoder, group, own, index)
                if number + 1 < len(groups):
                    counts = ops.sum(ops.one_hot(token, vocabulary, dtype="float32"), axis=1, keepdims=True)
                    # Before this token: those who end with it took it, too.
                    taken = taken + ops.where(ops.expand_dims(groups[number].is_open, 2), counts, 0.0)
                found.append(group)
                parents.append(place + number * width)
                chosen.append(token)
            places, tokens = ops.concatenate(parents, axis=1), ops.concatenate(chosen, axis=1)
            rows = places + ops.expand_dims(ops.arange(prompts, dtype="int32") * self.num_beams, 1)
            rows = ops.reshape(rows, (-1,))
            caches = keras.tree.map_structure(lambda part: ops.take(part, rows, axis=0), caches)
            logits, caches = decoder.step(ops.reshape(tokens, (-1,)), state._replace(caches=caches), index)
            return index + 1, tuple(found), logits, caches

        repeat = self.num_beams
        state = keras.tree.map_structure(lambda part: part if part is None else ops.repeat(part, repeat, axis=0), state)
        texts = ops.repeat(ops.expand_dims(decoder.token_ids, 1), width, axis=1)
        # All beams are alike at first: one of them is enough.
        first = ops.concatenate(
            [ops.zeros((prompts, 1), "float32"), ops.full((prompts, width - 1), _LOWEST, "float32")], axis=1
        )
        lowest = ops.full((prompts, width), _LOWEST, "float32")
        group = _Group(ops.ones((prompts, 1), "bool"), texts, first, texts, lowest, lowest > 0)
        begin = (
            ops.cast(start, "int32"), (group,) * self.num_groups, ops.repeat(logits, self.num_beams, axis=0),
            state.caches,
        )  # fmt: skip
        _, groups, *_ = ops.while_loop(goes_on, turn, begin)
        scores = ops.concatenate([group.done_scores for group in groups], axis=1)
        scores, best = ops.top_k(scores, k=self.num_texts)
        done = ops.concatenate([group.done for group in groups], axis=1)
        new = _pick(done, ops.cast(best, "int32"))[:, :, start:]
        lengths = decoder.lengths(new)
        behind = ops.arange(decoder.max_new_tokens, dtype="int32") >= ops.expand_dims(lengths, -1)
        return Generated(ops.where(behind, decoder.pad_token, new), lengths, scores)

    def _candidates(self, decoder: DecoderRun) -> int:
        """As many continuations that at least all beams of a group go on, even if each may end by each of the ends."""
        return self.num_beams // self.num_groups * (1 + max(1, len(decoder.end_tokens)))

    def _check(self, decoder: DecoderRun, vocabulary: int) -> None:
        width, candidates = self.num_beams // self.num_groups, self._candidates(decoder)
        if candidates > width * vocabulary:
            raise TransformerError(
                f"num_beams must leave {candidates} continuations to choose from; got {width} beams for a vocabulary of "
                f"{vocabulary}"
            )

    def _continued(self, decoder: DecoderRun, group: _Group, scores: Any, index: Any) -> tuple[_Group, Any, Any]:
        """A group with one more token, by log-probabilities (B, W, V); of what goes on the beams (B, W) and tokens (B, W)."""
        prompts, width, vocabulary = ops.shape(scores)[0], scores.shape[1], scores.shape[2]
        candidates = self._candidates(decoder)
        rows = ops.reshape(group.live, (prompts * width, -1))
        scores = decoder.constrained(ops.reshape(scores, (prompts * width, vocabulary)), rows, index)
        scores = ops.reshape(scores, (prompts, width, vocabulary)) + ops.expand_dims(group.live_scores, 2)
        best, places = ops.top_k(ops.reshape(scores, (prompts, width * vocabulary)), k=candidates)
        places = ops.cast(places, "int32")
        parents, chosen = places // vocabulary, places % vocabulary
        texts = decoder.with_column(_pick(group.live, parents), chosen, index)
        ended = decoder.ends(chosen) | (index + 1 >= decoder.length)

        # Those that go on.
        live_scores, kept = ops.top_k(ops.where(ended, best + _LOWEST, best), k=width)
        kept = ops.cast(kept, "int32")
        live, parents, chosen = (_pick(part, kept) for part in (texts, parents, chosen))

        # Those that are done: the best of former ones and of what ended now.
        length = ops.cast(index + 1 - decoder.prompt_length, "float32")
        taken = ended & (ops.arange(candidates) < width) & group.is_open
        new = ops.where(taken, best / length**self.length_penalty, _LOWEST)
        done_scores, kept = ops.top_k(ops.concatenate([group.done_scores, new], axis=1), k=width)
        kept = ops.cast(kept, "int32")
        done = _pick(ops.concatenate([group.done, texts], axis=1), kept)
        is_done = _pick(ops.concatenate([group.is_done, taken], axis=1), kept)
        is_open = group.is_open & self._may_improve(live_scores, done_scores, is_done, length, decoder)
        return _Group(is_open, live, live_scores, done, done_scores, is_done), parents, chosen

    def _may_improve(self, live_scores: Any, done_scores: Any, is_done: Any, length: Any, decoder: DecoderRun) -> Any:
        """(B, 1) bool: for which prompts what goes on may become better than the worst of what is done."""
        if self.early_stopping == "never" and self.length_penalty > 0:
            length = float(decoder.max_new_tokens)
        possible = live_scores[:, :1] / length**self.length_penalty
        better = possible > ops.min(done_scores, axis=1, keepdims=True)
        open_rows = ~ops.all(is_done, axis=1, keepdims=True) | better
        if self.early_stopping is True:
            open_rows = open_rows & ~ops.all(is_done, axis=1, keepdims=True)
        return open_rows


def _pick(rows: Any, places: Any) -> Any:
    """(B, K, ...) of (B, M, ...) by the places (B, K)."""
    while len(places.shape) < len(rows.shape):
        places = ops.expand_dims(places, -1)
    return ops.take_along_axis(rows, places, axis=1)
