"""From texts in any form that a task takes to batches of integers."""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from tftransformer.data.examples import Examples, build_examples
from tftransformer.data.pipeline import ordered_batches, stream_batches
from tftransformer.data.row_packing import Packer
from tftransformer.data.split import Split
from tftransformer.data.targets import LABEL, TargetSpec
from tftransformer.data.texts import Texts, as_texts
from tftransformer.errors import TransformerError
from tftransformer.tasks.inputs import (
    dataset_has_pairs,
    first_batches,
    is_dataset,
    is_tokenized,
    only_without,
    with_known_size,
)
from tftransformer.text.base import Tokenizer


class Maker(NamedTuple):
    """What examples were made by, which decides what their numbers mean.

    Args:
        tokenizer, pack: From texts to tokens.
        classes: Of `target_classes`.
    """

    tokenizer: Any
    pack: Packer
    classes: tuple

    def tokenizes_as(self, other: "Maker") -> bool:
        """Whether the same texts give the same tokens."""
        if self.pack != other.pack:
            return False
        return self.tokenizer is other.tokenizer or self.tokenizer.spec() == other.tokenizer.spec()


class TextBatches:
    """Methods of a `TextTask`, which brings the rest.

    Attributes:
        text_pairs: Whether it takes pairs of texts; None until `fit` is given some or single texts.
        target_spec: What the target of a text looks like in a batch: see `data.targets`.
    """

    tokenizer: Tokenizer
    pack: Packer
    text_pairs: bool | None
    target_spec: TargetSpec = LABEL

    def preprocess(self, texts: Any, targets: Any = None, sample_weight: Any = None) -> Examples:
        """Tokenised examples of texts in any form that `fit` takes.

        `fit`, `evaluate`, `predict` and `report` take them in place of the texts, so that what is used several times is
        tokenised once.

        Args:
            texts: A Split, texts, pairs or a finite dataset, see `data.texts.as_texts`; or `Examples`, which are
                returned as they are.
            targets: Labels, where the texts come without.
            sample_weight: A weight for each text.

        Returns:
            `Examples`, which `data.pipeline` makes batches of.

        Raises:
            TransformerError: The texts or labels are not what the task takes, or the examples are another task's.
        """
        if not isinstance(texts, Examples):
            return self._examples(as_texts(texts, targets, sample_weight))
        only_without(y=targets, sample_weight=sample_weight)
        same = texts.maker is not None and texts.maker.tokenizes_as(self._maker())
        if not same or texts.targets is not None and texts.maker.classes != self._maker().classes:
            raise TransformerError(
                "examples must be of this task's preprocess, or of a task with its tokenizer, sequence_length and labels"
            )
        if len(texts):
            self._check_pairs(bool((texts.segments == 2).any()))
        return texts

    def examples_like(self, examples: Examples) -> Examples:
        """This task's tokens of the texts of another task's examples, without targets."""
        maker = self._maker()
        if examples.maker is not None and examples.maker.tokenizes_as(maker):
            return replace(examples, targets=None, weights=None, maker=maker)
        return self._examples(replace(examples.texts(), targets=None, weights=None))

    def _examples(self, records: Texts) -> Examples:
        if len(records):
            self._check_pairs(records.second is not None)
        # Before the texts are tokenised: what is wrong with labels is said at once.
        targets = None if records.targets is None else self.encode_targets(records.targets)
        return self._tokenised(records, targets, self.target_spec)

    def _tokenised(self, records: Texts, targets: Any, spec: TargetSpec) -> Examples:
        examples = build_examples(
            records,
            tokenize=self.tokenizer.tokenize,
            pack=self.pack,
            pad_id=self.tokenizer.pad_id,
            maker=self._maker(),
        )
        if targets is None:
            return examples
        targets = spec.check(self.align_targets(targets, examples), examples.lengths)
        return replace(examples, targets=targets, target_spec=spec)

    def align_targets(self, targets: Any, examples: Examples) -> Any:
        """Encoded targets as `target_spec` says; for tasks whose targets depend on where a text's tokens are."""
        return targets

    def target_classes(self) -> tuple:
        """What the numbers of a target stand for; examples with targets are for tasks where it is the same."""
        return ()

    def _maker(self) -> "Maker":
        return Maker(self.tokenizer, self.pack, self.target_classes())

    def _check_pairs(self, pairs: bool) -> None:
        if self.text_pairs not in (None, pairs):
            kinds = ("single texts", "pairs of texts")
            raise TransformerError(f"this model was trained on {kinds[self.text_pairs]}; got {kinds[pairs]}")

    def _decide_pairs(self, data: Examples | tf.data.Dataset) -> None:
        """What a model is trained on decides between single texts and pairs; other data have only to agree."""
        if is_dataset(data):
            self.text_pairs = self.text_pairs if is_tokenized(data) else dataset_has_pairs(data)
        elif len(data):
            self.text_pairs = bool((data.segments == 2).any())

    @contextlib.contextmanager
    def _deciding_pairs(self, data: Examples | tf.data.Dataset) -> Iterator[None]:
        """`_decide_pairs`, which is taken back where the block that reads the other data raises."""
        deciders = (self, *self.tasks.values())
        before = [decider.text_pairs for decider in deciders]
        self._decide_pairs(data)
        try:
            yield
        except BaseException:
            for decider, pairs in zip(deciders, before, strict=True):
                decider.text_pairs = pairs
            raise

    def _stream(self, dataset: tf.data.Dataset, batch_size: int) -> tf.data.Dataset:
        self._check_pairs(dataset_has_pairs(dataset))
        return stream_batches(
            dataset,
            batch_size,
            tokenize=self.tokenizer.tokenize,
            pack=self.pack,
            sequence_length=self.pack.sequence_length,
            encode_labels=self.stream_encoder(),
            pad_id=self.tokenizer.pad_id,
        )

    def stream_encoder(self) -> Callable | None:
        """`encode_targets` for the labels of a dataset's batches, in TensorFlow operations; None leaves them."""
        return None

    def _inference(
        self, x: Any, y: Any, sample_weight: Any, batch_size: int, options: dict[str, Any]
    ) -> tuple[Any, np.ndarray | None]:
        if is_dataset(x):
            return x if is_tokenized(x) else self._stream(x, batch_size), None
        # Batches are sorted by length: Keras would count other texts than the first.
        steps = options.pop("steps", None)
        examples = first_batches(self.preprocess(x, y, sample_weight), "steps", steps, batch_size)
        return self._ordered(examples, batch_size)

    def _ordered(self, examples: Examples, batch_size: int) -> tuple[Any, np.ndarray | None]:
        if not len(examples):
            return None, None
        return ordered_batches(examples, batch_size, boundaries=self._boundaries(examples))

    def _validation(self, data: Any, batch_size: int, steps: int | None = None) -> Any:
        data = with_known_size("validation_data", data, steps)
        if data is None or is_tokenized(data):
            return data
        if isinstance(data, (Split, Examples)) or is_dataset(data):
            data = (data,)
        if not isinstance(data, tuple) or not 1 <= len(data) <= 3:
            raise TransformerError(
                "validation_data must be a Split, a dataset, (texts, labels) or (texts, labels, weights); got "
                f"{type(data).__name__}"
            )
        if is_dataset(data[0]):
            return self._stream(data[0], batch_size)
        return self.preprocess(*data)
