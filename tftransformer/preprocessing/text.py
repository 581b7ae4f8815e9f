"""Texts, or pairs of texts, as encoders take them: flat examples, batches of a dataset, and tensors in a served graph."""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from tftransformer.data.examples import Examples, build_examples
from tftransformer.data.fields import Field
from tftransformer.data.pipeline import stream_batches
from tftransformer.data.row_packing import Packer, packer
from tftransformer.data.texts import Texts, as_texts
from tftransformer.errors import TransformerError
from tftransformer.preprocessing.datasets import dataset_has_pairs, is_dataset, is_tokenized, reject_arguments
from tftransformer.text.base import Tokenizer

_KINDS = ("single texts", "pairs of texts")


class Maker(NamedTuple):
    """Settings that examples were made with, which decide what their numbers mean.

    Args:
        tokenizer, pack: From texts to tokens.
        classes: Meaning of the numbers of targets (`Objective.classes`).
    """

    tokenizer: Tokenizer
    pack: Packer
    classes: tuple

    def tokenizes_as(self, other: "Maker") -> bool:
        """Return whether the same texts give the same tokens."""
        if self.pack != other.pack:
            return False
        return self.tokenizer is other.tokenizer or self.tokenizer.spec() == other.tokenizer.spec()


class TextPreprocessor:
    """From texts, or pairs of texts, to what a network takes.

    Called on texts (B,), or on a tuple of first and second texts, it returns `token_ids`, `segment_ids` and `padding_mask`,
    each (B, T).

    Args:
        tokenizer: Text to ids.
        sequence_length: Longest sequence in tokens, special tokens included; longer ones are truncated.
        pairs: Whether it takes pairs; None until training data are the one or the other.

    Attributes:
        pack: Adds the special tokens and cuts.

    Example:
        >>> preprocessor = tt.preprocessing.TextPreprocessor(classifier.tokenizer, sequence_length=16)
        >>> preprocessor(["no refund"])["token_ids"].shape
        TensorShape([1, ...])
        >>> len(preprocessor.examples(["no refund", "late"]))
        2
    """

    # Rows that the encoder reads of one example at most.
    rows_per_example = 1

    def __init__(self, tokenizer: Tokenizer, sequence_length: int, pairs: bool | None = None) -> None:
        self.tokenizer = tokenizer
        self.sequence_length = sequence_length
        self.pack = packer(tokenizer, sequence_length)
        self.pairs = pairs

    def __call__(self, texts: Any) -> dict[str, tf.Tensor]:
        return self.graph(*(texts if isinstance(texts, tuple) else (texts,)))

    # Inside a served graph.

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the strings that a server is given."""
        return ("text", "text_pair") if self.pairs else ("text",)

    def graph(self, *texts: tf.Tensor) -> dict[str, tf.Tensor]:
        """Return what the network is given for texts (B,), for pairs of texts (B,) and (B,), in TensorFlow operations."""
        return self.pack(*(self.tokenizer.tokenize(side) for side in texts))

    # To examples.

    def examples(self, x: Any, y: Any = None, sample_weight: Any = None, objective: Any = None) -> Examples:
        """Return tokenised examples of texts.

        Args:
            x: A Split, texts, pairs or a finite dataset, see `data.texts.as_texts`; or `Examples`, which are returned as
                they are.
            y: Targets, where the texts come without.
            sample_weight: A weight for each text.
            objective: Encodes the targets.

        Raises:
            TransformerError: They are not what the task takes, or the examples are another task's.
        """
        if not isinstance(x, Examples):
            return self.examples_of(self.read(x, y, sample_weight), objective)
        reject_arguments(y=y, sample_weight=sample_weight)
        maker = self.maker(objective)
        same = x.maker is not None and x.maker.tokenizes_as(maker)
        if not same or x.targets is not None and x.maker.classes != maker.classes:
            raise TransformerError(
                "examples must be of this task's preprocess, or of a task with its tokenizer, sequence_length and labels"
            )
        if len(x):
            self.check(holds_pairs(x))
        return x

    def read(self, x: Any, y: Any, sample_weight: Any) -> Texts:
        """Return texts and targets in one form, whatever form they came in."""
        return as_texts(x, y, sample_weight)

    def examples_of(self, texts: Texts, objective: Any) -> Examples:
        """Return tokenised examples of what `read` gave."""
        if len(texts):
            self.check(texts.second is not None)
        # Before the texts are tokenised: what is wrong with targets is said at once.
        targets = None if texts.targets is None else objective.encode(texts.targets)
        return self.tokenized(texts, targets, objective)

    def rows_of(self, examples: Examples, texts: Sequence[int] | np.ndarray) -> np.ndarray:
        """Return the rows of examples that are of some texts, by their numbers from 0."""
        return np.asarray(texts)

    def full_lengths(self, examples: Examples) -> np.ndarray | None:
        """Return the tokens of each text before it is cut; None where texts are not cut."""
        return examples.tokens.full_lengths

    def tokenized(self, texts: Texts, targets: Any = None, objective: Any = None) -> Examples:
        """Return examples of texts and their encoded targets, whether pairs are expected or not."""
        examples = build_examples(
            texts,
            tokenize=self.tokenizer.tokenize,
            pack=self.pack,
            pad_id=self.tokenizer.pad_id,
            maker=self.maker(objective),
        )
        return examples if targets is None else replace(examples, targets=self.align(targets, examples))

    def align(self, targets: Any, examples: Examples) -> Field:
        """Return the field of encoded targets; for tasks whose targets depend on where a text's tokens are."""
        return targets

    def tokenized_again(self, examples: Examples) -> Examples:
        """Return the texts of another task's examples with the tokens of this one, without targets."""
        maker = self.maker(None)
        if examples.maker is not None and examples.maker.tokenizes_as(maker):
            return replace(examples, targets=None, weights=None, maker=maker)
        return self.examples_of(replace(examples.texts(), targets=None, weights=None), None)

    def maker(self, objective: Any) -> Maker:
        """Return what examples for such an objective are made by."""
        return Maker(self.tokenizer, self.pack, () if objective is None else objective.classes)

    # To batches.

    def stream(self, dataset: tf.data.Dataset, batch_size: int, objective: Any, few_shapes: bool) -> tf.data.Dataset:
        """Return a dataset of texts as batches of what the network and the loss are given.

        Args:
            dataset: As for `data.pipeline.stream_batches`.
            batch_size: Rows a batch of a dataset that is not batched.
            objective: Encodes the targets.
            few_shapes: As for `network_batches`.
        """
        self.check(dataset_has_pairs(dataset))
        batches = stream_batches(
            dataset,
            batch_size,
            tokenize=self.tokenizer.tokenize,
            pack=self.pack,
            sequence_length=self.pack.sequence_length,
            encode_labels=objective.stream_encoder(),
            pad_id=self.tokenizer.pad_id,
        )
        return self.network_batches(batches, few_shapes)

    def network_batches(self, batches: tf.data.Dataset, few_shapes: bool) -> tf.data.Dataset:
        """Return batches of examples in the form that the network reads.

        Args:
            batches: Batches of examples.
            few_shapes: Whether each shape costs, as where XLA compiles.
        """
        return batches

    # Single texts or pairs of them.

    def check(self, pairs: bool) -> None:
        """Refuse pairs where single texts are expected, and single texts where pairs are."""
        if self.pairs not in (None, pairs):
            raise TransformerError(f"this model was trained on {_KINDS[self.pairs]}; got {_KINDS[pairs]}")

    @contextlib.contextmanager
    def deciding(self, data: Examples | tf.data.Dataset) -> Iterator[None]:
        """Let training data decide between texts and pairs; taken back where the block, which reads other data, raises."""
        before = self.pairs
        if is_dataset(data):
            self.pairs = before if is_tokenized(data) else dataset_has_pairs(data)
        elif len(data):
            self.pairs = holds_pairs(data)
        try:
            yield
        except BaseException:
            self.pairs = before
            raise


def holds_pairs(examples: Examples) -> bool:
    """Return whether examples are of pairs of texts."""
    return bool((examples.tokens.segments == 2).any())
