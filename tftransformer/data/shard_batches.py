"""Endless batches from integer shards, with a position from which they go on exactly.

Their rows are cut at sentence and word ends, out of windows of documents in random order. A window holds some hundred
thousand tokens of documents from several places of the shards, so that memory does not grow with them and rows of a
batch come from everywhere. The contents and the cuts of a window follow from the seed, the epoch and the window's
number alone: a run can go on in the middle of an epoch.
"""

import bisect
import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from tftransformer.data.packed_batches import pack_rows
from tftransformer.data.shards import Part, Shards
from tftransformer.data.word_starts import special_ids, word_starts
from tftransformer.errors import TransformerError

# Most texts that a sentence encoder is for are short: rows of all lengths, down to this.
SHORTEST = 6
CHUNK_TOKENS = 32_768
WINDOW_CHUNKS = 8
_EVALUATION_EPOCH = 1 << 30


@dataclasses.dataclass(frozen=True)
class Position:
    """A place in a stream of batches: the next batch is number `batch` of window `window` of `epoch`."""

    epoch: int = 0
    window: int = 0
    batch: int = 0


class ShardBatches:
    """Batches of rows of like lengths, or of rows packed full, read from shards without TensorFlow.

    Args:
        shards: Shards from `open_shards`.
        part: "train" or "heldout".
        sequence_length: T, longest row with its special tokens.
        batch_size: Rows of that length in a batch; of shorter ones it holds as many more.
        teacher: Add the teacher's ids of the same words; not for packed rows.
        packed: Fill rows with several texts; `sequence_ids` and `position_ids` tell them apart.
        mask_rate: Fraction of the words to mask; 0 masks none.
        length_multiple: Row lengths are rounded up to it; the fewer shapes, the fewer compilations.
        seed: Random seed of order, cuts and masks.

    Raises:
        TransformerError: The rows are too short, or the shards have no teacher.

    Each batch is a dict of arrays: `token_ids`, `padding_mask`, `segment_ids` and `words` (B, T) int32, the last
    the number of a token's word in its row, -1 at padding; with a teacher the same with `teacher_` before their
    names, (B, T'); packed: `sequence_ids` and `position_ids` (B, T); with masks `mask_places` and `mask_targets`
    (M,) int32 and `mask_weights` (M,) float32, places counted through all rows. A window's last batch is
    filled up with empty rows.
    """

    def __init__(
        self,
        shards: Shards,
        part: str = "train",
        *,
        sequence_length: int = 128,
        batch_size: int = 32,
        teacher: bool = False,
        packed: bool = False,
        mask_rate: float = 0.0,
        length_multiple: int = 8,
        seed: int = 0,
    ) -> None:
        if sequence_length < SHORTEST + 2:
            raise TransformerError(f"sequence_length must be at least {SHORTEST + 2}; got {sequence_length}")
        if batch_size < 1:
            raise TransformerError(f"batch_size must be at least 1; got {batch_size}")
        if teacher and shards.teacher_tokenizer is None:
            raise TransformerError(f"shards {shards.folder} hold no teacher's ids: prepare them with --teacher=FOLDER")
        if teacher and packed:
            raise TransformerError("rows with a teacher must not be packed")
        self.name, self.part = part, shards.parts[part]
        self.sequence_length, self.batch_size, self.packed = sequence_length, batch_size, packed
        self.mask_rate, self.length_multiple, self.seed = mask_rate, length_multiple, seed
        specs = [shards.tokenizer, shards.teacher_tokenizer] if teacher else [shards.tokenizer]
        self.specials = [special_ids(spec) for spec in specs]
        self.starts = [word_starts(spec) for spec in specs]
        self.vocabulary_size = len(shards.tokenizer.vocabulary)
        self._bounds = chunk_bounds(self.part)

    def stream(self, position: Position = Position()) -> Iterator[tuple[dict[str, np.ndarray], Position]]:
        """Batches from a position on, each with the position behind it; without end.

        Raises:
            TransformerError: No word of the texts fits.
        """
        windows = count_windows(self._bounds)
        empty = 0
        while empty < windows:
            empty += 1
            for number, batch in self._window(position.epoch, position.window, position.batch):
                yield batch, dataclasses.replace(position, batch=number + 1)
                empty = 0
            last = position.window + 1 == windows
            position = Position(position.epoch + 1) if last else Position(position.epoch, position.window + 1)
        raise self._nothing_fits()

    def first(self, count: int) -> list[dict[str, np.ndarray]]:
        """At most `count` batches, always the same ones and each text once: to evaluate with.

        Raises:
            TransformerError: No word of the texts fits.
        """
        batches: list[dict[str, np.ndarray]] = []
        for window in range(count_windows(self._bounds)):
            for _, batch in self._window(_EVALUATION_EPOCH, window, 0):
                batches.append(batch)
                if len(batches) == count:
                    return batches
        if not batches:
            raise self._nothing_fits()
        return batches

    def _nothing_fits(self) -> TransformerError:
        return TransformerError(
            f"sequence_length must leave room for words; at {self.sequence_length} none of the part {self.name} fits"
        )

    def _window(self, epoch: int, window: int, skip: int) -> Iterator[tuple[int, dict[str, np.ndarray]]]:
        chunks = [
            read_texts(self.part, self.starts, *span) for span in window_chunks(self._bounds, self.seed, epoch, window)
        ]
        draw = np.random.default_rng([self.seed, epoch, window])
        shortest = None if self.packed else min(SHORTEST, self.sequence_length - 2)
        spans = [cut_rows(texts, self.sequence_length - 2, shortest, draw) for texts in chunks]
        rows = [(texts, span) for texts, found in zip(chunks, spans, strict=True) for span in found]
        lengths = np.concatenate([np.max(row_lengths(*pair), axis=0) for pair in zip(chunks, spans, strict=True)])
        plan = self._packed_plan(lengths, draw) if self.packed else self._plan(lengths, draw)
        for number in range(skip, len(plan)):
            masks = np.random.default_rng([self.seed, epoch, window, number])
            yield number, self._batch(rows, plan[number], masks)

    def _plan(self, lengths: np.ndarray, draw: np.random.Generator) -> list[Any]:
        """Row numbers of each batch: longest first with a little noise, then in random order."""
        order = np.argsort(-(lengths + draw.random(len(lengths))), kind="stable")
        batches, start = [], 0
        while start < len(order):
            size = self._rows_of(self._rounded(int(lengths[order[start]]) + 2))
            batches.append(order[start : start + size])
            start += size
        return [batches[i] for i in draw.permutation(len(batches))]

    def _packed_plan(self, lengths: np.ndarray, draw: np.random.Generator) -> list[Any]:
        """For each batch a list of rows, each a list of row numbers that fit it together."""
        full = pack_rows(lengths + 2, self.sequence_length)
        order = draw.permutation(len(full))
        size = self.batch_size
        return [[full[i] for i in order[start : start + size]] for start in range(0, len(order), size)]

    def _rounded(self, length: int) -> int:
        multiple = self.length_multiple
        return min(-(-length // multiple) * multiple, self.sequence_length)

    def _rows_of(self, length: int) -> int:
        return max(1, self.batch_size * self.sequence_length // length)

    def _batch(self, rows: list, chosen: Any, draw: np.random.Generator) -> dict[str, np.ndarray]:
        picked = [[rows[i] for i in row] for row in (chosen if self.packed else chosen[:, None])]
        longest = [self.sequence_length - 2]
        count = self.batch_size
        if not self.packed:
            longest = [
                max(texts.sides[i].bounds[last] - texts.sides[i].bounds[first] for ((texts, (first, last)),) in picked)
                for i in range(len(self.starts))
            ]
            count = max(self._rows_of(self._rounded(int(max(longest)) + 2)), len(picked))
        batch = {}
        for side, prefix in enumerate(("", "teacher_")[: len(self.starts)]):
            length = self._rounded(int(longest[side]) + 2)
            written = write_rows(picked, side, count, length, self.starts[side], self.specials[side])
            names = written if self.packed else ("token_ids", "padding_mask", "segment_ids", "words")
            batch.update({f"{prefix}{name}": written[name] for name in names})
        if self.mask_rate:
            batch.update(mask_whole_words(batch, draw, self.specials[0], self.vocabulary_size, self.mask_rate))
        return batch


# Rows cut out of windows of documents.


@dataclasses.dataclass(frozen=True)
class Side:
    """One tokenizer's view of some texts: token ids, and the first token of each word, with the end (W+1)."""

    ids: np.ndarray
    bounds: np.ndarray


@dataclasses.dataclass(frozen=True)
class Documents:
    """Documents in memory: `sides` of each tokenizer; ends of sentences and documents counted in words."""

    sides: tuple[Side, ...]
    sentence_ends: np.ndarray
    document_ends: np.ndarray


def chunk_bounds(part: Part) -> np.ndarray:
    """Documents at which chunks of about `CHUNK_TOKENS` tokens begin, with the end (C+1)."""
    firsts = part.sentences[part.documents]
    chunks = max(1, -(-len(part.tokens) // CHUNK_TOKENS))
    bounds = np.searchsorted(firsts, np.arange(chunks) * CHUNK_TOKENS)
    return np.unique(np.concatenate([bounds, [len(part.documents) - 1]]))


def count_windows(bounds: np.ndarray) -> int:
    """Windows of an epoch."""
    return -(-(len(bounds) - 1) // WINDOW_CHUNKS)


def window_chunks(bounds: np.ndarray, seed: int, epoch: int, window: int) -> Iterator[tuple[int, int]]:
    """The spans of documents of one window."""
    order = np.random.default_rng([seed, epoch]).permutation(len(bounds) - 1)
    for chunk in order[window * WINDOW_CHUNKS : (window + 1) * WINDOW_CHUNKS]:
        yield int(bounds[chunk]), int(bounds[chunk + 1])


def read_texts(part: Part, starts: Sequence[np.ndarray], first: int, last: int) -> Documents:
    """Documents `first` to `last` (exclusive), with their words found.

    Args:
        part: Part of the shards.
        starts: Result of `word_starts`, (V,), of each tokenizer to read.
        first, last: Numbers of documents; the last is not read.
    """
    sentences = np.array(part.documents[first : last + 1])
    arrays = [(part.tokens, part.sentences), (part.teacher_tokens, part.teacher_sentences)]
    sides, sentence_ends = [], None
    for (tokens, offsets), begins in zip(arrays, starts, strict=False):
        span = np.array(offsets[sentences[0] : sentences[-1] + 1])
        ids = np.array(tokens[span[0] : span[-1]]).astype("int32")
        span = span - span[0]
        begin = begins[ids]
        begin[span[:-1]] = True
        sides.append(Side(ids, np.append(np.flatnonzero(begin), len(ids))))
        if sentence_ends is None:
            sentence_ends = np.cumsum(begin)[span[1:] - 1]
    return Documents(tuple(sides), sentence_ends, sentence_ends[sentences[1:] - sentences[0] - 1])


def cut_rows(texts: Documents, longest: int, shortest: int | None, draw: np.random.Generator) -> np.ndarray:
    """Spans of words, (R, 2), of whole consecutive sentences of one document as far as that goes.

    Args:
        texts: The documents.
        longest: Most tokens of a row, in each tokenizer.
        shortest: If given, the limit of each row is drawn between it and `longest`, so that lengths vary. None
            makes each row as long as it can be.
        draw: Source of randomness.

    Longer sentences are cut between words; a word that is too long alone is left out.
    """
    bounds = [side.bounds.tolist() for side in texts.sides]
    sentence_ends = texts.sentence_ends.tolist()
    limits = iter(())
    rows, word = [], 0
    for document_end in texts.document_ends.tolist():
        while word < document_end:
            limit = longest
            if shortest is not None:
                limit = next(limits, None)
                if limit is None:
                    limits = iter(draw.integers(shortest, longest + 1, 1024).tolist())
                    limit = next(limits)
            end = min(
                bisect.bisect_right(bound, bound[word] + limit, word, min(word + limit + 2, len(bound))) - 1
                for bound in bounds
            )
            if end >= document_end:
                end = document_end
            else:
                at = bisect.bisect_right(sentence_ends, end) - 1
                if at >= 0 and sentence_ends[at] > word:
                    end = sentence_ends[at]
            if end > word:
                rows.append((word, end))
            word = max(end, word + 1)
    return np.array(rows, "int64").reshape(-1, 2)


def row_lengths(texts: Documents, rows: np.ndarray) -> list[np.ndarray]:
    """Tokens of each row, for each tokenizer."""
    return [side.bounds[rows[:, 1]] - side.bounds[rows[:, 0]] for side in texts.sides]


def write_rows(
    rows: Sequence[Sequence[tuple[Documents, tuple[int, int]]]],
    side: int,
    count: int,
    length: int,
    begins: np.ndarray,
    specials: tuple[int, int, int, int, int],
) -> dict[str, np.ndarray]:
    """Rows of one or several texts as arrays: each text with [CLS] and [SEP], and positions of its own.

    Args:
        rows: Documents of each row, as pairs of `Documents` and a span of words.
        side: Number of the tokenizer.
        count: B; rows beyond the given ones are empty.
        length: T.
        begins: (V,), the token starts a word.
        specials: Ids of unknown, padding, start, separator and mask.

    Returns:
        `token_ids`, `padding_mask`, `segment_ids`, `words` (numbered through the row, -1 at padding), `sequence_ids` (from
        1; 0 at padding) and `position_ids`, (B, T) int32.
    """
    _, pad, start, separator, _ = specials
    token_ids = np.full((count, length), pad, "int32")
    words = np.full((count, length), -1, "int32")
    sequence_ids, position_ids = np.zeros((2, count, length), "int32")
    for row, items in enumerate(rows):
        at = word = 0
        for number, (texts, (first, last)) in enumerate(items, 1):
            ids, bounds = texts.sides[side].ids, texts.sides[side].bounds
            piece = ids[bounds[first] : bounds[last]]
            end = at + len(piece) + 2
            token_ids[row, at:end] = np.concatenate(([start], piece, [separator]))
            begin = begins[piece]
            begin[bounds[first:last] - bounds[first]] = True
            words[row, at:end] = word + np.concatenate([[0], np.cumsum(begin), [last - first + 1]])
            word += last - first + 2
            sequence_ids[row, at:end] = number
            position_ids[row, at:end] = np.arange(end - at)
            at = end
    return {
        "token_ids": token_ids,
        "padding_mask": (sequence_ids > 0).astype("int32"),
        "segment_ids": np.zeros_like(token_ids),
        "words": words,
        "sequence_ids": sequence_ids,
        "position_ids": position_ids,
    }


# Whole-word masks, drawn anew each time a text is seen (Devlin et al. 2018; Liu et al. 2019, arXiv 1907.11692).

# Room for batches in which more pieces than usual are masked; a full batch is five deviations away.
_ROOM = 1.25


def count_places(tokens: int, rate: float) -> int:
    """M: the places that batches of so many tokens provide, a multiple of 8."""
    return min(tokens, 8 * math.ceil(tokens * rate * _ROOM / 8) + 8)


def mask_whole_words(
    batch: Mapping[str, np.ndarray],
    draw: np.random.Generator,
    specials: tuple[int, int, int, int, int],
    vocabulary_size: int,
    rate: float = 0.15,
    places: int | None = None,
) -> dict[str, np.ndarray]:
    """Mask a fraction of the words of each row: 80 % become [MASK], 10 % random pieces, 10 % stay as they are.

    Args:
        batch: Holds `token_ids` (B, T) and `words` (B, T), the number of each token's word in its row, negative at padding.
        draw: Source of randomness.
        specials: Ids of unknown, padding, start, separator and mask; they are neither masked nor drawn.
        vocabulary_size: V.
        rate: Fraction of the words to mask (above 0, at most 1). A row that has words gets at least one masked.
        places: M, so that batches have one shape; None for `count_places`.

    Returns:
        `token_ids` with masks, (B, T); `mask_places` (M,), into the B*T tokens, `mask_targets` (M,), the ids that were
        there, and `mask_weights` (M,), 1 where a place is used. Of more than M masked pieces the last are not asked for.

    Raises:
        TransformerError: The rate is out of range.
    """
    if not 0 < rate <= 1:
        raise TransformerError(f"mask_rate must be above 0 and at most 1; got {rate}")
    token_ids, words = batch["token_ids"], batch["words"]
    special = np.zeros(vocabulary_size, bool)
    special[list(specials)] = True
    usable = (words >= 0) & ~special[token_ids]
    rows = np.arange(len(token_ids))[:, None]
    # One number a word, the same for all its pieces, and 1 (never chosen) where there is nothing to mask.
    numbers = draw.random((len(token_ids), int(words.max(initial=0)) + 1))
    by_piece = np.where(usable, numbers[rows, np.maximum(words, 0)], 1.0)
    masked = usable & (by_piece <= np.maximum(rate, by_piece.min(axis=1, keepdims=True)))
    # A second number a word decides what replaces it.
    fate = draw.random(numbers.shape)[rows, np.maximum(words, 0)]
    ordinary = np.flatnonzero(~special)
    random_ids = ordinary[draw.integers(0, len(ordinary), token_ids.shape)]
    replaced = np.where(fate < 0.8, specials[4], np.where(fate < 0.9, random_ids, token_ids))
    places = count_places(token_ids.size, rate) if places is None else places
    at = np.flatnonzero(masked)[:places]
    unused = (0, places - len(at))
    return {
        "token_ids": np.where(masked, replaced, token_ids).astype("int32"),
        "mask_places": np.pad(at, unused).astype("int32"),
        "mask_targets": np.pad(token_ids.ravel()[at], unused).astype("int32"),
        "mask_weights": np.pad(np.ones(len(at), "float32"), unused),
    }
