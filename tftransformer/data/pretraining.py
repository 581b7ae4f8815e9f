"""An endless stream of pretraining batches from short texts: ids, word numbers, masks, a teacher's ids."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from tftransformer.data import masked_lm
from tftransformer.errors import TransformerError

# Texts tokenised and sorted by length at once: enough for batches of like lengths, little enough to wait for.
CHUNK = 4096


class PretrainingBatches:
    """Batches over texts, anew shuffled (and masked) in each epoch.

    Args:
        texts: Short texts; they are held in memory.
        tokenizer: A `WordPieceTokenizer`, the student's.
        max_length: Longest row with [CLS] and [SEP]; longer texts are cut.
        batch_tokens: Pieces in a batch, padding included.
        teacher_tokenizer: If given, batches hold the teacher's ids too, and texts that the two tokenizers
            cut into different numbers of words (where one was cut off) are left out.
        mask_rate: Share of words to hide; 0 hides none and gives no targets.
        seed: Of shuffling and masking.

    Raises:
        TransformerError: There are no texts.

    Iterating gives dicts of int32 arrays: `token_ids`, `padding_mask`, `segment_ids` and `words`, all (B, T);
    with a teacher the same four with `teacher_` before their names, (B, T'); with masks `targets` (B, T).
    """

    def __init__(
        self,
        texts: Sequence[str],
        tokenizer: Any,
        *,
        max_length: int = 64,
        batch_tokens: int = 4096,
        teacher_tokenizer: Any = None,
        mask_rate: float = 0.0,
        seed: int = 0,
    ) -> None:
        if not len(texts):
            raise TransformerError("texts must hold at least one text; got none")
        self.texts = texts
        self.tokenizer = tokenizer
        self.teacher_tokenizer = teacher_tokenizer
        self.max_length = max_length
        self.batch_tokens = batch_tokens
        self.mask_rate = mask_rate
        self.seed = seed
        self._continues = masked_lm.continuation_table(tokenizer.vocabulary)
        if teacher_tokenizer is not None:
            self._teacher_continues = masked_lm.continuation_table(teacher_tokenizer.vocabulary)

    def __iter__(self) -> Iterator[dict[str, np.ndarray]]:
        draw = np.random.default_rng(self.seed)
        while True:
            order = draw.permutation(len(self.texts))
            for start in range(0, len(order), CHUNK):
                chunk = [self.texts[i] for i in order[start : start + CHUNK]]
                yield from self._batches(chunk, draw)

    def _batches(self, texts: list[str], draw: np.random.Generator) -> Iterator[dict[str, np.ndarray]]:
        rows = masked_lm.tokenize_rows(self.tokenizer, texts)
        teacher_rows = None
        if self.teacher_tokenizer is not None:
            teacher_rows = masked_lm.tokenize_rows(self.teacher_tokenizer, texts)
        lengths = np.minimum([len(row) for row in rows], self.max_length - 2)
        for chosen in masked_lm.batches_by_length(lengths, self.batch_tokens, draw):
            batch = self._rows(rows, chosen, self.tokenizer, self._continues)
            if teacher_rows is not None:
                taught = self._rows(teacher_rows, chosen, self.teacher_tokenizer, self._teacher_continues)
                same = batch["words"].max(axis=1) == taught["words"].max(axis=1)
                if not same.any():
                    continue
                batch = {name: array[same] for name, array in batch.items()}
                batch.update({f"teacher_{name}": array[same] for name, array in taught.items()})
            yield self._masked(batch, draw) if self.mask_rate else batch

    def _rows(
        self, rows: list[np.ndarray], chosen: np.ndarray, tokenizer: Any, continues: np.ndarray
    ) -> dict:
        batch = masked_lm.pad_rows(
            [rows[i] for i in chosen],
            tokenizer.start_id,
            tokenizer.separator_id,
            tokenizer.pad_id,
            self.max_length,
        )
        batch["words"] = masked_lm.number_words(batch["token_ids"], batch["padding_mask"], continues)
        return batch

    def _masked(self, batch: dict[str, np.ndarray], draw: np.random.Generator) -> dict[str, np.ndarray]:
        tokenizer = self.tokenizer
        ids, targets = masked_lm.mask_whole_words(
            batch["token_ids"],
            batch["words"],
            draw,
            mask_id=tokenizer.mask_id,
            special_ids=(
                tokenizer.pad_id,
                tokenizer.start_id,
                tokenizer.separator_id,
                tokenizer.mask_id,
                tokenizer.unknown_id,
            ),
            vocabulary_size=len(tokenizer.vocabulary),
            rate=self.mask_rate,
        )
        return {**batch, "token_ids": ids, "targets": targets}


def spell_pieces(vocabulary: Sequence[str], other: Sequence[str], unknown_id: int) -> list[list[int]]:
    """Each piece of a WordPiece vocabulary as ids of another: the same piece, else longest pieces first.

    Example:
        >>> spell_pieces(["a", "##bc"], ["[UNK]", "a", "##b", "##c"], 0)
        [[1], [2, 3]]
    """
    ids = {piece: i for i, piece in enumerate(other)}

    def spell(piece: str) -> list[int]:
        if piece in ids:
            return [ids[piece]]
        word, prefix = piece.removeprefix("##"), "##" if piece.startswith("##") else ""
        found: list[int] = []
        while word:
            for end in range(len(word), 0, -1):
                if prefix + word[:end] in ids:
                    found.append(ids[prefix + word[:end]])
                    word, prefix = word[end:], "##"
                    break
            else:
                return [unknown_id]
        return found

    return [spell(piece) for piece in vocabulary]
