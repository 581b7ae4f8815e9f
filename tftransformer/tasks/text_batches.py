"""From texts in any form that a task takes to batches of integers: telling the forms apart, tokenising, Keras's small print."""

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from tftransformer.data.examples import Examples, build_examples
from tftransformer.data.fields import Field
from tftransformer.data.pipeline import Epoch, ordered_batches, stream_batches
from tftransformer.data.row_packing import Packer
from tftransformer.data.split import Split
from tftransformer.data.texts import Texts, as_texts
from tftransformer.errors import TransformerError, check_whole
from tftransformer.finetuning.frozen_part import POOLED
from tftransformer.finetuning.recipe import INFERENCE_BATCH_SIZE
from tftransformer.finetuning.schedule_length import show_average, start_epoch
from tftransformer.text.base import Tokenizer


class Maker(NamedTuple):
    """What examples were made by, which decides what their numbers mean.

    Args:
        tokenizer, pack: From texts to tokens.
        classes: What the numbers of targets stand for (`Objective.classes`).
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
        inference_batch_size: Rows a batch of `evaluate` and `predict`, where none is asked for.
    """

    tokenizer: Tokenizer
    pack: Packer
    text_pairs: bool | None
    inference_batch_size: int = INFERENCE_BATCH_SIZE

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
            self._check_pairs(bool((texts.tokens.segments == 2).any()))
        return texts

    def examples_like(self, examples: Examples) -> Examples:
        """This task's tokens of the texts of another task's examples, without targets."""
        maker = self._maker()
        if examples.maker is not None and examples.maker.tokenizes_as(maker):
            return replace(examples, targets=None, weights=None, maker=maker)
        return self._examples(replace(examples.texts(), targets=None, weights=None))

    def _examples(self, texts: Texts) -> Examples:
        if len(texts):
            self._check_pairs(texts.second is not None)
        # Before the texts are tokenised: what is wrong with labels is said at once.
        targets = None if texts.targets is None else self.objective.encode(texts.targets)
        return self._tokenised(texts, targets)

    def _tokenised(self, texts: Texts, targets: Any) -> Examples:
        examples = build_examples(
            texts, tokenize=self.tokenizer.tokenize, pack=self.pack, pad_id=self.tokenizer.pad_id, maker=self._maker()
        )
        if targets is None:
            return examples
        return replace(examples, targets=self.align_targets(targets, examples))

    def align_targets(self, targets: Any, examples: Examples) -> Field:
        """Return the field of encoded targets; for tasks whose targets depend on where a text's tokens are."""
        return targets

    def _maker(self) -> "Maker":
        return Maker(self.tokenizer, self.pack, self.objective.classes)

    def _check_pairs(self, pairs: bool) -> None:
        if self.text_pairs not in (None, pairs):
            kinds = ("single texts", "pairs of texts")
            raise TransformerError(f"this model was trained on {kinds[self.text_pairs]}; got {kinds[pairs]}")

    def _decide_pairs(self, data: Examples | tf.data.Dataset) -> None:
        """What a model is trained on decides between single texts and pairs; other data have only to agree."""
        if is_dataset(data):
            self.text_pairs = self.text_pairs if is_tokenized(data) else dataset_has_pairs(data)
        elif len(data):
            self.text_pairs = bool((data.tokens.segments == 2).any())

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
            encode_labels=self.objective.stream_encoder(),
            pad_id=self.tokenizer.pad_id,
        )

    def _inference(
        self, x: Any, y: Any, sample_weight: Any, batch_size: int | None, options: dict[str, Any]
    ) -> tuple[Any, np.ndarray | None]:
        batch_size = checked_batch_size(batch_size, self.inference_batch_size)
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


# One of these stands in everything that a task feeds to its network.
_MODEL_INPUTS = {"padding_mask", POOLED}


class EpochNumber(keras.callbacks.Callback):
    """Tells the batches which epoch it is, so that their order depends on nothing else, and the optimizer."""

    def __init__(self, epoch: Epoch) -> None:
        super().__init__()
        self._epoch = epoch

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        self._epoch.number = epoch
        start_epoch(self.model.optimizer)

    # It stands before all other callbacks: what they validate, compare or write is the average, where there is one.

    def on_test_begin(self, logs: Mapping[str, Any] | None = None) -> None:
        show_average(self.model.optimizer)

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        show_average(self.model.optimizer)


def is_dataset(x: Any) -> bool:
    """Whether x is a `tf.data.Dataset`."""
    return isinstance(x, tf.data.Dataset)


def is_tokenized(x: Any) -> bool:
    """Whether x is a dataset of a model's inputs already, as Keras hands back to `evaluate` inside `fit`."""
    if not is_dataset(x):
        return False
    spec = x.element_spec
    first = spec[0] if isinstance(spec, tuple) else spec
    return isinstance(first, dict) and not _MODEL_INPUTS.isdisjoint(first)


def dataset_has_pairs(dataset: tf.data.Dataset) -> bool:
    """Whether a dataset of raw texts yields pairs of them."""
    spec = dataset.element_spec
    first = spec[0] if isinstance(spec, tuple) else spec
    return isinstance(first, (tuple, list)) or isinstance(first, dict) and "text_pair" in first


def texts_alone(x: Any) -> Any:
    """Data without their labels, which `predict` does not need and which may be unknown ones."""
    if isinstance(x, Split):
        return replace(x, targets=None)
    if isinstance(x, Examples):
        return replace(x, targets=None, weights=None)
    if is_dataset(x) and not is_tokenized(x) and isinstance(x.element_spec, tuple):
        return x.map(lambda text, *_: text)
    return x


def with_known_size(name: str, dataset: Any, steps: int | None = None) -> Any:
    """A dataset whose epochs have a known number of elements: where it does not say, they are counted in one pass.

    Keras makes one step too many in each epoch of a dataset of unknown size (the end is found in the middle of a step,
    which the optimizer has counted by then), and a schedule has to know its length.

    Args:
        name: What the user calls it.
        dataset: Anything; what is no `tf.data.Dataset`, or has no end, is returned as it is.
        steps: Batches to an epoch, if the user says so: each then begins where the last one ended, and nothing is counted.

    Raises:
        TransformerError: It is empty, or can be read only once.
    """
    if steps is not None or not isinstance(dataset, tf.data.Dataset):
        return dataset
    count = int(dataset.cardinality())
    if count == tf.data.UNKNOWN_CARDINALITY:
        count = int(dataset.reduce(np.int64(0), lambda number, _: number + 1))
        if count and not int(dataset.take(1).reduce(0, lambda number, _: number + 1)):
            raise TransformerError(
                f"{name} must begin anew in each epoch; its {count} elements can be read only once, and counting them "
                "has: give from_generator a function that makes a new generator, or call cache() on the dataset"
            )
        dataset = dataset.apply(tf.data.experimental.assert_cardinality(count))
    if count == 0:
        raise TransformerError(f"{name} must have at least one batch; got a dataset without elements")
    return dataset


@contextlib.contextmanager
def same_size_in_each_epoch() -> Iterator[None]:
    """Say in one line that a dataset has not as many elements as `with_known_size` counted."""
    try:
        yield
    except tf.errors.FailedPreconditionError as error:
        if "was expected to contain" not in str(error):
            raise
        raise TransformerError(
            "a tf.data.Dataset must have the same number of elements in each epoch, where it does not say how many: "
            "give steps_per_epoch (or validation_steps) and a dataset that repeats"
        ) from None


def batches_an_epoch(dataset: Any) -> int | None:
    """Batches of an epoch; None where the data have no end."""
    count = int(dataset.cardinality())
    return count if count >= 0 else None


def split_end(examples: Examples, fraction: float) -> tuple[Examples, Examples | None]:
    """Examples without their last fraction, and that fraction, Keras's `validation_split`; None for a fraction of 0."""
    if not fraction:
        return examples, None
    if not 0 < fraction < 1:
        raise TransformerError(f"validation_split must be at least 0 and below 1; got {fraction}")
    kept = len(examples) - int(len(examples) * fraction)
    if kept < 1 or kept == len(examples):
        raise TransformerError(f"validation_split={fraction} of {len(examples)} examples leaves one side empty")
    return examples.take(range(kept)), examples.take(range(kept, len(examples)))


def first_batches(examples: Examples, argument: str, steps: int | None, batch_size: int) -> Examples:
    """The examples of the first batches, of each task where there are several; all for None.

    Args:
        examples: To choose from.
        argument: What Keras calls the number of batches: "steps" or "validation_steps".
        steps: The number.
        batch_size: Rows a batch.

    Raises:
        TransformerError: `steps` is no whole number of at least 1.
    """
    if steps is None:
        return examples
    check_whole(argument, steps)
    return examples.first(int(steps) * batch_size)


def checked_batch_size(given: Any, default: int) -> int:
    """The batch size to take; the default for None.

    Raises:
        TransformerError: It is no whole number of at least 1.
    """
    if given is None:
        return default
    check_whole("batch_size", given)
    return given


def as_list(callbacks: Any) -> list:
    """Callbacks in any form that Keras takes, as a list."""
    if callbacks is None:
        return []
    return list(callbacks) if isinstance(callbacks, (list, tuple)) else [callbacks]


def only_without(**arguments: Any) -> None:
    """Raise unless all these arguments of `fit` were left out."""
    for name, value in arguments.items():
        if value is not None and not (isinstance(value, float) and value == 0.0):
            raise TransformerError(f"{name} does not go with this kind of data: put it into the data themselves")


def weighted(dataset: tf.data.Dataset, weights: tf.Tensor | None) -> tf.data.Dataset:
    """The dataset with the weight of its class multiplied into each example's."""
    if weights is None:
        return dataset

    def weigh(x: Any, y: tf.Tensor, weight: tf.Tensor | None = None) -> tuple:
        own = tf.gather(weights, y)
        return x, y, own if weight is None else own * tf.cast(weight, own.dtype)

    return dataset.map(weigh, num_parallel_calls=tf.data.AUTOTUNE)
