"""Endless batches from integer shards, with a position from which they go on exactly."""

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np

from tftransformer.data import shard_rows
from tftransformer.data.masked_places import choose_masks, count_places
from tftransformer.data.packed_rows import pack_rows, write_packed
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
        max_length: T, longest row with its special tokens.
        batch_size: Rows of that length in a batch; of shorter ones it holds as many more.
        teacher: Add the teacher's ids of the same words; not for packed rows.
        packed: Fill rows with several texts; `documents` and `position_ids` tell them apart.
        mask_rate: Share of words to hide; 0 hides none.
        length_multiple: Row lengths are rounded up to it; the fewer shapes, the fewer compilations.
        seed: Of order, cuts and masks.

    Raises:
        TransformerError: The rows are too short, or the shards have no teacher.

    Each batch is a dict of arrays: `token_ids`, `padding_mask`, `segment_ids` and `words` (B, T) int32, the last
    the number of a token's word in its row, -1 at padding; with a teacher the same with `teacher_` before their
    names, (B, T'); packed: `documents` and `position_ids` (B, T); with masks `mask_places` and `mask_targets`
    (M,) int32 and `mask_weights` (M,) float32, places counted through all rows. A window's last batch is
    filled up with empty rows.
    """

    def __init__(
        self,
        shards: Shards,
        part: str = "train",
        *,
        max_length: int = 128,
        batch_size: int = 32,
        teacher: bool = False,
        packed: bool = False,
        mask_rate: float = 0.0,
        length_multiple: int = 8,
        seed: int = 0,
    ) -> None:
        if max_length < SHORTEST + 2:
            raise TransformerError(f"max_length must be at least {SHORTEST + 2}; got {max_length}")
        if batch_size < 1:
            raise TransformerError(f"batch_size must be at least 1; got {batch_size}")
        if teacher and shards.teacher_tokenizer is None:
            raise TransformerError(
                f"shards {shards.folder} hold no teacher's ids: prepare them with --teacher=FOLDER"
            )
        if teacher and packed:
            raise TransformerError("rows with a teacher must not be packed")
        self.name, self.part = part, shards.parts[part]
        self.max_length, self.batch_size, self.packed = max_length, batch_size, packed
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
            f"max_length must leave room for words; at {self.max_length} none of the part {self.name} fits"
        )

    def _window(self, epoch: int, window: int, skip: int) -> Iterator[tuple[int, dict[str, np.ndarray]]]:
        chunks = [
            shard_rows.read_texts(self.part, self.starts, *span)
            for span in shard_rows.window_chunks(self._bounds, self.seed, epoch, window)
        ]
        draw = np.random.default_rng([self.seed, epoch, window])
        shortest = None if self.packed else min(SHORTEST, self.max_length - 2)
        spans = [shard_rows.cut_rows(texts, self.max_length - 2, shortest, draw) for texts in chunks]
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
        full = pack_rows(lengths + 2, self.max_length)
        order = draw.permutation(len(full))
        size = self.batch_size
        return [[full[i] for i in order[start : start + size]] for start in range(0, len(order), size)]

    def _rounded(self, length: int) -> int:
        multiple = self.length_multiple
        return min(-(-length // multiple) * multiple, self.max_length)

    def _rows_of(self, length: int) -> int:
        return max(1, self.batch_size * self.max_length // length)

    def _batch(self, rows: list, chosen: Any, draw: np.random.Generator) -> dict[str, np.ndarray]:
        if self.packed:
            packed = [[rows[i] for i in row] for row in chosen]
            batch = write_packed(packed, self.batch_size, self.max_length, self.starts[0], self.specials[0])
        else:
            batch = {}
            picked = [rows[i] for i in chosen]
            longest = [
                max(
                    texts.sides[i].bounds[last] - texts.sides[i].bounds[first]
                    for texts, (first, last) in picked
                )
                for i in range(len(self.starts))
            ]
            count = self._rows_of(self._rounded(int(max(longest)) + 2))
            for side, prefix in enumerate(("", "teacher_")[: len(self.starts)]):
                length = self._rounded(int(longest[side]) + 2)
                written = self._write(picked, side, max(count, len(picked)), length)
                batch.update({f"{prefix}{name}": array for name, array in written.items()})
        if self.mask_rate:
            places = count_places(batch["token_ids"].size, self.mask_rate)
            batch.update(
                choose_masks(batch, draw, self.specials[0], self.vocabulary_size, self.mask_rate, places)
            )
        return batch

    def _write(self, picked: list, side: int, count: int, length: int) -> dict[str, np.ndarray]:
        """Rows of [CLS], the tokens, [SEP] and padding."""
        _, pad, start, separator, _ = self.specials[side]
        token_ids = np.full((count, length), pad, "int32")
        words = np.full((count, length), -1, "int32")
        begins = self.starts[side]
        for line, numbers, (texts, (first, last)) in zip(token_ids, words, picked, strict=False):
            ids, bounds = texts.sides[side].ids, texts.sides[side].bounds
            piece = ids[bounds[first] : bounds[last]]
            end = len(piece) + 1
            line[0], line[1:end], line[end] = start, piece, separator
            begin = begins[piece]
            begin[bounds[first:last] - bounds[first]] = True
            numbers[0], numbers[1:end], numbers[end] = 0, np.cumsum(begin), last - first + 1
        padding_mask = (words >= 0).astype("int32")
        zeros = np.zeros_like(token_ids)
        return {"token_ids": token_ids, "padding_mask": padding_mask, "segment_ids": zeros, "words": words}
