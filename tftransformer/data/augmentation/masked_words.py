"""Words that a masked language model predicts (Kobayashi 2018, arXiv 1805.06201; Wu et al. 2018, 1812.06705)."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tftransformer.data.augmentation.operations import Operation
from tftransformer.data.augmentation.sources import whole_words
from tftransformer.data.augmentation.words import count_changes, in_case_of, join_words, split_words
from tftransformer.data.row_packing import packer
from tftransformer.errors import TransformerError
from tftransformer.text.base import Tokenizer

Fill = Callable[[list[str]], Sequence[Sequence[Sequence[str]]]]
_BATCH = 64


class ReplaceMasked(Operation):
    """Hide some words, and put in their places what a masked language model guesses.

    Args:
        fill: Callable from texts with masks to one list a text, which holds a list of candidates for each of its masks,
            the best first. It may be called from a thread beside the one that trains. `mask_filler` makes one of a
            model. A list without candidates leaves the word as it was.
        fraction: Fraction of the words.
        mask_token: String in the place of a hidden word in the texts that `fill` is given.

    Raises:
        TransformerError: `fill` is no callable, or the fraction is not above 0 and at most 1; later, `fill` returned
            something else than one list a text and one a mask.

    Example:
        >>> guess = lambda texts: [[["movie"]] * text.count("[MASK]") for text in texts]
        >>> ReplaceMasked(guess, 1.0).apply(["Film!"], [np.random.default_rng(0)])
        ['Movie!']
    """

    name = "masked"

    def __init__(self, fill: Fill, fraction: float = 0.1, mask_token: str = "[MASK]") -> None:
        super().__init__(fraction)
        if not callable(fill):
            raise TransformerError(
                f"fill must be a callable from texts with masks to candidates; got {type(fill).__name__}"
            )
        self.fill, self.mask_token = fill, mask_token

    def prepare(self, texts: Sequence[str]) -> None:
        # One text now, so that a callable that answers in another form is noticed before training.
        for text in texts:
            words, gaps = split_words(text)
            if words and self.mask_token not in text:
                self._guesses([(words, gaps, [0])])
                return

    def apply(self, texts: list[str], draws: list[np.random.Generator]) -> list[str]:
        hidden = {}
        for row, (text, draw) in enumerate(zip(texts, draws, strict=True)):
            words, gaps = split_words(text)
            count = count_changes(len(words), self.fraction, draw)
            # A mask that is in the text already would be taken for ours.
            if count and self.mask_token not in text:
                hidden[row] = words, gaps, sorted(draw.permutation(len(words))[:count].tolist())
        changed, rows = list(texts), list(hidden)
        for start in range(0, len(rows), _BATCH):
            part = rows[start : start + _BATCH]
            guesses = self._guesses([hidden[row] for row in part])
            for row, candidates in zip(part, guesses, strict=True):
                words, gaps, places = hidden[row]
                for i, found in zip(places, candidates, strict=True):
                    words[i] = _choose(words[i], found, draws[row])
                changed[row] = join_words(words, gaps)
        return changed

    def _guesses(self, parts: list[tuple]) -> Sequence[Sequence[Sequence[str]]]:
        masked = []
        for words, gaps, places in parts:
            shown = list(words)
            for i in places:
                shown[i] = self.mask_token
            masked.append(join_words(shown, gaps))
        guesses = self.fill(masked)
        if len(guesses) != len(masked):
            raise TransformerError(f"fill must return one list a text, {len(masked)}; it returned {len(guesses)}")
        for (_, _, places), candidates in zip(parts, guesses, strict=True):
            flat = isinstance(candidates, str) or any(isinstance(found, str) for found in candidates)
            if flat or len(candidates) != len(places):
                raise TransformerError(
                    f"fill must return one list of candidates a mask, {len(places)} in this text; it returned "
                    f"{candidates!r}"
                )
        return guesses


def _choose(word: str, candidates: Sequence[str], draw: np.random.Generator) -> str:
    others = [candidate for candidate in candidates if candidate.lower() != word.lower()]
    return in_case_of(others[int(draw.integers(len(others)))], word) if others else word


def mask_filler(
    tokenizer: Tokenizer, predict: Callable[[dict], Any], *, sequence_length: int = 128, candidates: int = 8
) -> Fill:
    """Make the `fill` of `ReplaceMasked` from a tokenizer and a model that gives logits over its vocabulary.

    Args:
        tokenizer: Tokenizer of this package.
        predict: Callable from `token_ids`, `segment_ids` and `padding_mask`, (B, T), and `mask_places` (M,), the masks'
            places in the B * T tokens, to logits (M, V).
        sequence_length: Longest text in tokens; masks behind that get no candidates.
        candidates: Whole words that each mask gets.

    Returns:
        The callable. `tasks.masked_filler` makes it of a preset.

    Raises:
        TransformerError: `candidates` is below 1, or the kind of tokenizer marks no words.

    Example:
        >>> def predict(batch):
        ...     places = batch.pop("mask_places")
        ...     hidden = keras.ops.reshape(encoder(batch), (-1, hidden_dim))
        ...     return head(keras.ops.take(hidden, places, axis=0))
        >>> encoder, hidden_dim = classifier.encoder, classifier.config.hidden_dim
        >>> head = keras.layers.Dense(classifier.config.vocabulary_size)
        >>> fill = mask_filler(tokenizer, predict)
        >>> fill(["a very good [MASK]"])
        [[['...', ..., '...']]]
    """
    if candidates < 1:
        raise TransformerError(f"candidates must be at least 1; got {candidates}")
    ids, words = whole_words(tokenizer.spec())
    pack = packer(tokenizer, sequence_length)
    count = min(candidates, len(words))

    def fill(texts: list[str]) -> list[list[list[str]]]:
        import tensorflow as tf

        # A tokenizer never reads special tokens from a text, so that the mask comes in between the parts.
        parts = [text.split("[MASK]") for text in texts]
        flat = [part.rstrip() for row in parts for part in row]
        pieces = iter(tokenizer.tokenize(tf.constant(flat, tf.string)).to_list())
        rows = []
        for row in parts:
            rows.append(next(pieces))
            for _ in row[1:]:
                rows[-1] = [*rows[-1], tokenizer.mask_id, *next(pieces)]
        batch = pack(tf.ragged.constant(rows, ragged_rank=1, dtype=tf.int32))
        masks = batch["token_ids"].numpy() == tokenizer.mask_id
        places = np.flatnonzero(masks).astype("int32")
        logits = predict({**batch, "mask_places": tf.constant(places)})
        best = tf.math.top_k(tf.gather(tf.cast(logits, tf.float32), ids, axis=1), count).indices.numpy()
        guesses = iter([[words[i] for i in columns] for columns in best])
        # Masks behind the end of the row have none.
        shown = masks.sum(axis=1)
        return [
            [next(guesses) if i < seen else [] for i in range(len(row) - 1)]
            for row, seen in zip(parts, shown, strict=True)
        ]

    return fill
