"""Sentences whose words have tags: each word through the tokenizer, long sentences in windows, tags on first pieces."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import tensorflow as tf

from tftransformer.data.examples import CHUNK_TEXTS, TEXT, Examples
from tftransformer.data.fields import Field, Spec, TokenLabels, Tokens
from tftransformer.data.ragged import Ragged, row_places, row_splits
from tftransformer.data.split import Split
from tftransformer.data.tagged import TaggedSplit
from tftransformer.data.texts import as_texts, weights_of
from tftransformer.errors import TransformerError
from tftransformer.preprocessing.text import Maker, TextPreprocessor
from tftransformer.preprocessing.words import words_of
from tftransformer.text.base import Tokenizer

# What the target of a token is that is not the first of a word.
IGNORED = -1
# Name of the field of the words in each window.
WORDS = "words"
_SPECIAL = 2  # the start token and the separator


@dataclass(frozen=True)
class WordPlaces(Field):
    """Places of the first pieces of words in each window; nothing of it is given to the network.

    Args:
        places: For each window, the places of the first tokens of the words that this window answers for.
        sentences: int64 (B,): number of the sentence that each window is of.
    """

    places: Ragged
    sentences: np.ndarray

    def __len__(self) -> int:
        return len(self.sentences)

    def take(self, rows: np.ndarray) -> "WordPlaces":
        return WordPlaces(self.places[rows], self.sentences[rows])

    @classmethod
    def concat(cls, parts: Sequence["WordPlaces"]) -> "WordPlaces":
        before = np.cumsum([0, *(int(part.sentences.max(initial=-1)) + 1 for part in parts)])
        sentences = [part.sentences + first for part, first in zip(parts, before[:-1], strict=True)]
        return cls(Ragged.joined([part.places for part in parts]), np.concatenate(sentences))

    def batch(self, rows: np.ndarray, length: int) -> dict[str, np.ndarray]:
        return {}

    def spec(self) -> Spec:
        return {}

    def words_of(self, tokens: np.ndarray, starts: np.ndarray) -> list[np.ndarray]:
        """Pick the words out of what there is for each token.

        Args:
            tokens: (N, ...) values of tokens.
            starts: int64 (B,): which of them is the first token of each window.

        Returns:
            For each sentence (W, ...), in the order of the sentences.
        """
        counts = self.places.lengths
        words = tokens[self.places.values + np.repeat(starts, counts)]
        of_word = np.repeat(self.sentences, counts)
        words = words[np.argsort(of_word, kind="stable")]
        known, inverse = np.unique(self.sentences, return_inverse=True)
        sizes = np.bincount(inverse, weights=counts, minlength=len(known)).astype("int64")
        return np.split(words, np.cumsum(sizes)[:-1]) if len(known) else []


class TaggedTextPreprocessor(TextPreprocessor):
    """From sentences and the tags of their words to tokens and a target for the first piece of each word.

    Every word goes through the tokenizer alone, as in Hugging Face's `is_split_into_words`, so that none shares a piece with
    another. A sentence of more pieces than there is room for becomes several windows; each word is learned and answered in
    the window where it has most context on both sides, and nothing is dropped.

    Args:
        tokenizer: Text to ids.
        sequence_length: Tokens of a window, special tokens included.
        overlap: Tokens that a window shares with the one before. None: a quarter of the window.

    Raises:
        TransformerError: The overlap leaves nothing new in a window.

    Example:
        >>> preprocessor = tt.preprocessing.TaggedTextPreprocessor(classifier.tokenizer, sequence_length=6, overlap=2)
        >>> preprocessor.examples(["1 2 3 4 5 6"]).lengths.tolist()
        [6, 6]
    """

    def __init__(self, tokenizer: Tokenizer, sequence_length: int, overlap: int | None = None) -> None:
        super().__init__(tokenizer, sequence_length, pairs=False)
        room = sequence_length - _SPECIAL
        self.overlap = room // 4 if overlap is None else overlap
        whole = isinstance(self.overlap, int) and not isinstance(self.overlap, bool)
        if not whole or not 0 <= self.overlap < room:
            raise TransformerError(
                f"overlap must be at least 0 and below {room}, the tokens of a window's text; got {overlap!r}"
            )
        self.stride = room - self.overlap

    # To examples.

    def read(self, x: Any, y: Any, sample_weight: Any) -> tuple[TaggedSplit, np.ndarray | None]:
        """Return sentences in any form that `fit` takes, and their weights.

        Args:
            x: A `TaggedSplit`; sentences as lists of words; or texts, whose words are found (`data.split_words`).
            y: Tags of each sentence, where `x` is lists of words.
            sample_weight: A weight for each sentence.
        """
        if isinstance(x, TaggedSplit):
            if y is not None:
                raise TransformerError("y must be None with a TaggedSplit, which has its own tags")
            split = x
        elif isinstance(x, (list, tuple)) and any(isinstance(row, (list, tuple)) for row in x):
            split = TaggedSplit.from_words(x, y)
        else:
            if y is not None:
                raise TransformerError("y must be None with texts: tags go with lists of words, or in a TaggedSplit")
            texts = as_texts(replace(x, targets=None) if isinstance(x, Split) else x)
            if texts.second is not None or texts.targets is not None:
                raise TransformerError("x must be sentences, single ones and without labels of their own")
            split = TaggedSplit.from_texts(texts.first)
        return split, weights_of(sample_weight, len(split), "sentences")

    def examples_of(self, texts: Any, objective: Any) -> Examples:
        split, weights = texts
        tags = None if split.tags is None else objective.encode(split.tags)
        pieces, words = self.pieces_of(split), np.array([len(row) for row in split.spans], "int64")
        tokens, places = self._windows(pieces, words)
        targets = None
        if tags is not None:
            ids = np.full(len(tokens.token_ids), IGNORED, "int32")
            ids[np.repeat(tokens.row_splits[:-1], places.places.lengths) + places.places.values] = tags.values
            targets = TokenLabels(Ragged(ids, tokens.row_splits), ignore=IGNORED)
        weights = None if weights is None else weights[places.sentences]
        return Examples({TEXT: tokens, WORDS: places}, targets, weights, self.maker(objective))

    def rows_of(self, examples: Examples, texts: Sequence[int] | np.ndarray) -> np.ndarray:
        return np.flatnonzero(np.isin(examples.inputs[WORDS].sentences, texts))

    def full_lengths(self, examples: Examples) -> None:
        return None

    def pieces_of(self, split: TaggedSplit) -> Ragged:
        """Return the ids of each word, all sentences one after another; at least one, unknown, for each."""
        rows = [split.words(i) for i in range(len(split))]
        # Byte-level BPE writes the space before a word into its first piece.
        space = "" if self.tokenizer.words_begin_with_space else " "
        known: dict[str, int] = {}
        numbers = np.array([known.setdefault(space + word, len(known)) for row in rows for word in row], "int64")
        found: list[Ragged] = []
        unique = list(known)
        with tf.device("CPU"):
            for start in range(0, len(unique), CHUNK_TEXTS):
                ids = self.tokenizer.tokenize(tf.constant(unique[start : start + CHUNK_TEXTS], tf.string))
                found.append(_not_empty(ids.values.numpy(), ids.row_splits.numpy(), self.tokenizer.unknown_id))
        return (Ragged.joined(found) if found else Ragged.of([], "int32"))[numbers]

    def _windows(self, pieces: Ragged, words: np.ndarray) -> tuple[Tokens, WordPlaces]:
        """Windows of sentences of so many words each."""
        room = self.sequence_length - _SPECIAL
        ends = pieces.row_splits[row_splits(words)]
        sizes = np.diff(ends)
        counts = 1 + np.maximum(0, -(-(sizes - room) // self.stride))
        first_window = row_splits(counts)
        sentences = np.repeat(np.arange(len(words)), counts)
        shift = (np.arange(len(sentences)) - first_window[sentences]) * self.stride
        lengths = np.minimum(room, sizes[sentences] - shift)
        splits = row_splits(lengths + _SPECIAL)
        ids = np.empty(int(splits[-1]), "int32")
        ids[splits[:-1]], ids[splits[1:] - 1] = self.tokenizer.start_id, self.tokenizer.separator_id
        ids[row_places(splits[:-1] + 1, lengths)] = pieces.values[row_places(ends[sentences] + shift, lengths)]
        # Each word stands in the window where its first piece is nearest to the middle.
        of_word = np.repeat(np.arange(len(words)), words)
        place = pieces.row_splits[:-1] - ends[of_word]
        window = np.clip((place - self.overlap // 2) // self.stride, 0, counts[of_word] - 1)
        places = (place - window * self.stride + 1).astype("int64")
        in_window = np.bincount(first_window[of_word] + window, minlength=len(sentences))
        lengths = (lengths + _SPECIAL).astype("int32")
        tokens = Tokens(ids, splits, lengths, lengths, self.tokenizer.pad_id)
        return tokens, WordPlaces(Ragged(places, row_splits(in_window)), sentences)

    # Inside a served graph.

    def graph(self, *texts: tf.Tensor) -> dict[str, tf.Tensor]:
        """Return what the network is given for texts (B,), and where its answers for words are.

        Returns:
            `token_ids`, `segment_ids` and `padding_mask` of R windows, each (R, T); `word_window` and `word_place`, where the
            first pieces of words are, and `word_start` and `word_end`, in characters, each (B, W) and -1 behind the last word.
        """
        words = words_of(texts[0])
        pieces = self._pieces_in_graph(words.text.values)
        room, counts = self.sequence_length - _SPECIAL, words.text.row_lengths()
        ends = tf.gather(pieces.row_splits, words.text.row_splits)
        sizes = ends[1:] - ends[:-1]
        windows = 1 + tf.maximum(tf.constant(0, tf.int64), -(-(sizes - room) // self.stride))
        first_window = tf.cumsum(windows, exclusive=True)
        sentences = tf.repeat(tf.range(tf.size(counts, tf.int64)), windows)
        shift = (tf.range(tf.size(sentences, tf.int64)) - tf.gather(first_window, sentences)) * self.stride
        lengths = tf.minimum(tf.constant(room, tf.int64), tf.gather(sizes, sentences) - shift)
        starts = tf.gather(ends, sentences) + shift
        ids = tf.gather(pieces.values, tf.ragged.range(starts, starts + lengths))
        inputs = self.pack(ids)
        of_word = words.text.value_rowids()
        place = pieces.row_splits[:-1] - tf.gather(ends, of_word)
        last = tf.gather(windows, of_word) - 1
        window = tf.clip_by_value((place - self.overlap // 2) // self.stride, tf.zeros_like(last), last)
        flat = {
            "word_window": tf.gather(first_window, of_word) + window,
            "word_place": place - window * self.stride + 1,
        }
        ragged = {name: words.text.with_values(tf.cast(value, tf.int32)) for name, value in flat.items()}
        ragged |= {"word_start": words.start, "word_end": words.end}
        return {**inputs, **{name: value.to_tensor(-1) for name, value in ragged.items()}}

    def _pieces_in_graph(self, words: tf.Tensor) -> tf.RaggedTensor:
        """As `pieces_of`, for words (W,)."""
        pieces = self.tokenizer.tokenize(words if self.tokenizer.words_begin_with_space else " " + words)
        missing = tf.cast(pieces.row_lengths() == 0, tf.int64)
        unknown = tf.fill([tf.reduce_sum(missing)], self.tokenizer.unknown_id)
        return tf.concat([tf.cast(pieces, tf.int32), tf.RaggedTensor.from_row_lengths(unknown, missing)], axis=1)

    def maker(self, objective: Any) -> Maker:
        return super().maker(objective)._replace(pack=(self.pack, self.overlap))

    def stream(self, dataset: tf.data.Dataset, batch_size: int, objective: Any, few_shapes: bool) -> tf.data.Dataset:
        raise TransformerError("a TokenClassifier takes a TaggedSplit, words or texts in lists, not a tf.data.Dataset")


def _not_empty(values: np.ndarray, splits: np.ndarray, unknown_id: int) -> Ragged:
    """Rows of ids in which one without any has the unknown one."""
    empty = np.flatnonzero(np.diff(splits) == 0)
    lengths = np.diff(splits)
    lengths[empty] = 1
    return Ragged(np.insert(values, splits[empty], unknown_id).astype("int32"), row_splits(lengths))
