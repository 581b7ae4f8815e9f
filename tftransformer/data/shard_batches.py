"""Endless batches from integer shards, with a position from which they go on exactly."""

import dataclasses
import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from tftransformer.data import shard_rows
from tftransformer.data.packed_batches import pack_rows
from tftransformer.data.shard_rows import write_rows
from tftransformer.data.shards import Shards
from tftransformer.data.word_starts import special_ids, word_starts
from tftransformer.errors import TransformerError

# Most texts that a sentence encoder is for are short: rows of all lengths, down to this.
SHORTEST = 6
_EVALUATION_EPOCH = 1 << 30


@dataclasses.dataclass(frozen=True)
class Position:
    """Where a stream of batches stands: the next batch is number `batch` of window `window` of `epoch`."""

    epoch: int = 0
    window: int = 0
    batch: int = 0


class ShardBatches:
    """Batches of rows of like lengths, or of rows packed full, read from shards without TensorFlow.

    Args:
        shards: From `open_shards`.
        part: "train" or "heldout".
        sequence_length: T, longest row with its special tokens.
        batch_size: Rows of that length in a batch; of shorter ones it holds as many more.
        teacher: Add the teacher's ids of the same words; not for packed rows.
        packed: Fill rows with several texts; `text_numbers` and `position_ids` tell them apart.
        mask_rate: Fraction of the words to mask; 0 masks none.
        length_multiple: Row lengths are rounded up to it; the fewer shapes, the fewer compilations.
        seed: Random seed of order, cuts and masks.

    Raises:
        TransformerError: The rows are too short, or the shards have no teacher.

    Each batch is a dict of arrays: `token_ids`, `padding_mask`, `segment_ids` and `words` (B, T) int32, the last
    the number of a token's word in its row, -1 at padding; with a teacher the same with `teacher_` before their
    names, (B, T'); packed: `text_numbers` and `position_ids` (B, T); with masks `mask_places` and `mask_targets`
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
        self._bounds = shard_rows.chunk_bounds(self.part)

    def stream(self, position: Position = Position()) -> Iterator[tuple[dict[str, np.ndarray], Position]]:
        """Batches from a position on, each with the position behind it; without end.

        Raises:
            TransformerError: No word of the texts fits.
        """
        windows = shard_rows.count_windows(self._bounds)
        empty = 0
        while empty < windows:
            empty += 1
            for number, batch in self._window(position.epoch, position.window, position.batch):
                yield batch, dataclasses.replace(position, batch=number + 1)
                empty = 0
            following = position.window + 1
            if following < windows:
                position = Position(position.epoch, following, 0)
            else:
                position = Position(position.epoch + 1, 0, 0)
        raise self._nothing_fits()

    def first(self, count: int) -> list[dict[str, np.ndarray]]:
        """At most `count` batches, always the same ones and each text once: to evaluate with.

        Raises:
            TransformerError: No word of the texts fits.
        """
        batches: list[dict[str, np.ndarray]] = []
        for window in range(shard_rows.count_windows(self._bounds)):
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
            shard_rows.read_texts(self.part, self.starts, *span)
            for span in shard_rows.window_chunks(self._bounds, self.seed, epoch, window)
        ]
        draw = np.random.default_rng([self.seed, epoch, window])
        shortest = None if self.packed else min(SHORTEST, self.sequence_length - 2)
        spans = [shard_rows.cut_rows(texts, self.sequence_length - 2, shortest, draw) for texts in chunks]
        rows = [(texts, span) for texts, found in zip(chunks, spans, strict=True) for span in found]
        lengths = np.concatenate(
            [np.max(shard_rows.row_lengths(*pair), axis=0) for pair in zip(chunks, spans, strict=True)]
        )
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
        rate: Fraction of the words (above 0, at most 1). A row that has words gets at least one masked.
        places: M, so that batches have one shape; None for `count_places`.

    Returns:
        `token_ids` with masks, (B, T); `mask_places` (M,), into the B*T tokens, `mask_targets` (M,), the ids that stood
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
    # A second number a word decides what stands in its place.
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
