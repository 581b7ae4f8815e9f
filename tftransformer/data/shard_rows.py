"""Rows cut out of integer shards: windows of documents in random order, cut at sentence and word ends.

A window holds some hundred thousand tokens of documents from several places of the shards, so that memory does
not grow with them and rows of a batch come from everywhere. What a window holds, and how it is cut, follows
from the seed, the epoch and the window's number alone: a run can go on in the middle of an epoch.
"""

import bisect
import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np

from tftransformer.data.shards import Part

CHUNK_TOKENS = 32_768
WINDOW_CHUNKS = 8


@dataclasses.dataclass(frozen=True)
class Side:
    """One tokenizer's view of some texts: token ids, and the first token of each word, with the end (W+1)."""

    ids: np.ndarray
    bounds: np.ndarray


@dataclasses.dataclass(frozen=True)
class Texts:
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


def read_texts(part: Part, starts: Sequence[np.ndarray], first: int, last: int) -> Texts:
    """Documents `first` to `last` (exclusive), with their words found.

    Args:
        part: Of the shards.
        starts: (V,) for each tokenizer to read, see `word_starts`.
        first: A document.
        last: The document behind the last one.
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
    return Texts(tuple(sides), sentence_ends, sentence_ends[sentences[1:] - sentences[0] - 1])


def cut_rows(texts: Texts, longest: int, shortest: int | None, draw: np.random.Generator) -> np.ndarray:
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


def row_lengths(texts: Texts, rows: np.ndarray) -> list[np.ndarray]:
    """Tokens of each row, for each tokenizer."""
    return [side.bounds[rows[:, 1]] - side.bounds[rows[:, 0]] for side in texts.sides]


def write_rows(
    rows: Sequence[Sequence[tuple[Texts, tuple[int, int]]]],
    side: int,
    count: int,
    length: int,
    begins: np.ndarray,
    specials: tuple[int, int, int, int, int],
) -> dict[str, np.ndarray]:
    """Rows of one or several texts as arrays: each text with [CLS] and [SEP], and positions of its own.

    Args:
        rows: For each row its texts, as pairs of `Texts` and a span of words.
        side: Number of the tokenizer.
        count: B; rows beyond the given ones are empty.
        length: T.
        begins: (V,), the token starts a word.
        specials: Ids of unknown, padding, start, separator and mask.

    Returns:
        `token_ids`, `padding_mask`, `segment_ids`, `words` (numbered through the row, -1 at padding), `text_numbers` (from
        1; 0 at padding) and `position_ids`, (B, T) int32.
    """
    _, pad, start, separator, _ = specials
    token_ids = np.full((count, length), pad, "int32")
    words = np.full((count, length), -1, "int32")
    text_numbers, position_ids = np.zeros((2, count, length), "int32")
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
            text_numbers[row, at:end] = number
            position_ids[row, at:end] = np.arange(end - at)
            at = end
    return {
        "token_ids": token_ids,
        "padding_mask": (text_numbers > 0).astype("int32"),
        "segment_ids": np.zeros_like(token_ids),
        "words": words,
        "text_numbers": text_numbers,
        "position_ids": position_ids,
    }
