"""What every task over raw text shares: texts become integer batches, then Keras's own loops run."""

import os
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tftransformer.data.augmentation.pipeline import Augmentation, as_augmentation
from tftransformer.data.buckets import length_buckets
from tftransformer.data.examples import Examples, build_examples, packer
from tftransformer.data.packed_batches import packed_batches
from tftransformer.data.pipeline import Epoch, num_batches, ordered_batches, stream_batches
from tftransformer.data.records import Records, as_records
from tftransformer.data.split import Split
from tftransformer.errors import TransformerError
from tftransformer.finetuning.frozen_prefix import FrozenPrefix
from tftransformer.finetuning.prefix_cache import PrefixCache, choose_prefix_cache
from tftransformer.finetuning.schedule_length import bind_schedule, check_callbacks
from tftransformer.finetuning.unfreezing import GradualUnfreezing, run_stages, stages_of
from tftransformer.tasks.cached_batches import store_for_stages, stored_states
from tftransformer.tasks.compilation import choose_xla
from tftransformer.tasks.inputs import (
    EpochNumber,
    as_list,
    dataset_has_pairs,
    is_dataset,
    is_tokenized,
    known_cardinality,
    only_without,
    split_end,
    weighted,
)
from tftransformer.tasks.replicas import first_batch, weigh_by_rows
from tftransformer.tasks.training_batches import cache_beside, training_batches
from tftransformer.training.guards import StopOnNonFinite


class TextTask(keras.Model):
    """A model over raw text: an encoder, a tokenizer, and `fit`, `evaluate` and `predict` that take texts.

    Texts are tokenised once, in `tf.data`; the compiled step sees integers only. Subclasses build the rest of
    the network, encode targets (`encode_targets`) and turn the network's output into what
    `predict` returns (`activate`).

    Args:
        tokenizer: Text to ids.
        max_length: Longest sequence in tokens, special tokens included; longer ones are truncated.
        seed: Of the order of the training examples.
        name, dtype: As for any Keras model.
    """

    def __init__(self, tokenizer: Any, max_length: int, seed: int = 0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.tokenizer = tokenizer
        self.max_length = max_length
        self.seed = seed
        self.pack = packer(tokenizer, max_length)
        self.text_pairs: bool | None = None

    # What subclasses say.

    def encode_targets(self, targets: Any) -> np.ndarray:
        """Targets as the numbers that the loss takes."""
        raise TransformerError(f"{type(self).__name__} has no targets")

    def activate(self, output: Any) -> Any:
        """The network's output as what `predict` returns."""
        return output

    def example_weights(self, class_weight: Any, targets: np.ndarray | None) -> tf.Tensor | None:
        """A weight for each class id, or None."""
        if class_weight is None:
            return None
        raise TransformerError(f"class_weight is not for a {type(self).__name__}")

    def frozen_prefix(self) -> FrozenPrefix | None:
        """The part whose outputs stay the same in every epoch; None where there is none."""
        return None

    # Text to integers.

    def preprocess(self, texts: Any, targets: Any = None, sample_weight: Any = None) -> Examples:
        """Tokenised examples of texts in any form that `fit` takes.

        Args:
            texts: A Split, texts, pairs or a finite dataset; see `data.records.as_records`.
            targets: Labels, where the texts come without.
            sample_weight: A weight for each text.

        Returns:
            `Examples`, which `data.pipeline` makes batches of.
        """
        return self._examples(as_records(texts, targets, sample_weight))

    def _examples(self, records: Records) -> Examples:
        self._note_pairs(records.second is not None)
        targets = None if records.targets is None else self.encode_targets(records.targets)
        return build_examples(
            records, targets, tokenize=self.tokenizer.tokenize, pack=self.pack, pad_id=self.tokenizer.pad_id
        )

    def _note_pairs(self, pairs: bool) -> None:
        if self.text_pairs is None:
            self.text_pairs = pairs
        elif self.text_pairs != pairs:
            kinds = ("single texts", "pairs of texts")
            raise TransformerError(f"this model was trained on {kinds[self.text_pairs]}; got {kinds[pairs]}")

    # Keras's loops.

    def fit(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        epochs: int = 1,
        verbose: str | int = "auto",
        callbacks: Sequence[keras.callbacks.Callback] | None = None,
        validation_split: float = 0.0,
        validation_data: Any = None,
        shuffle: bool = True,
        class_weight: Any = None,
        sample_weight: Any = None,
        initial_epoch: int = 0,
        steps_per_epoch: int | None = None,
        prefix_cache: str | os.PathLike | PrefixCache = "auto",
        packing: bool = False,
        augmentation: Augmentation | str | None = None,
        unfreezing: GradualUnfreezing | None = None,
        **kwargs: Any,
    ) -> keras.callbacks.History:
        """`keras.Model.fit` over raw text.

        Args:
            x: A `Split`; texts in a list or any string array; pairs as tuples in a list; a `tf.data.Dataset`
                of (text, label) or (text, label, weight), batched or not, whose order is kept; or a
                dataset of integer batches, as a task makes them.
            y: Labels, by name or id, where `x` comes without.
            batch_size: Rows a batch, over all replicas; 32 by default.
            epochs: Number of the last epoch.
            verbose: As in Keras.
            callbacks: Keras callbacks. A stop at the first loss that is not finite comes on its own.
            validation_split: Share of the rows, taken from the end as Keras does, to validate on.
            validation_data: A Split, (texts, labels), (texts, labels, weights) or a dataset.
            shuffle: A new order in each epoch, by `seed`.
            class_weight: "balanced", or weights by label name or id.
            sample_weight: A weight for each text.
            prefix_cache: Where the embeddings and the first blocks are frozen, "auto" runs them once and trains
                from what they gave, if the rows are seen more than once; the result is the same. A folder
                keeps it for later runs, a `PrefixCache` has more to choose, and "off" refuses.
            packing: Put the texts of each batch into as few rows of `max_length` tokens as hold them, where none
                sees another: the same result from fewer, larger shapes, for accelerators and long epochs.
                On CPUs batches of like lengths are faster.
            augmentation: Changed copies of the training texts, drawn anew in each epoch: an `Augmentation`, or a
                spelling of one such as "swap:0.1,delete:0.1". Without a prefix cache: the texts are never the same.
            unfreezing: A `GradualUnfreezing`: the head trains first, then block after block joins from the top.
            initial_epoch, steps_per_epoch, kwargs: As in Keras.

        Returns:
            Keras's History.

        Raises:
            TransformerError: The data do not fit the task, a callback sets the rate beside a schedule, or the
                loss is not finite.
        """
        cache, augmentation = choose_prefix_cache(prefix_cache), as_augmentation(augmentation)
        if not self.compiled:
            self.compile()
        check_callbacks(callbacks, self.optimizer)
        stages = stages_of(unfreezing, self, epochs, initial_epoch)
        batch_size = batch_size or 32
        epoch = Epoch(initial_epoch)
        if is_tokenized(x):
            only_without(class_weight=class_weight)
        if is_dataset(x):
            only_without(
                sample_weight=sample_weight, y=y, validation_split=validation_split, augmentation=augmentation
            )
            data = train = x if is_tokenized(x) else self._stream(x, batch_size)
            weights = self.example_weights(class_weight, None)
        else:
            data, held_out = split_end(self.preprocess(x, y, sample_weight), validation_split)
            if data.labels is None:
                raise TransformerError("fit needs labels: give a Split with targets, or y")
            if held_out is not None:
                only_without(validation_data=validation_data)
                validation_data = held_out
            # Each stage is compiled anew.
            rows = len(data) * (1 if augmentation is None else augmentation.rows_per_text)
            updates = num_batches(rows, batch_size) * (epochs - initial_epoch)
            choose_xla(self, updates // max(1, len(stages)))
            changes = () if augmentation is None else (augmentation, x)
            train = self._batches(data, batch_size, shuffle, epoch, *changes)
            weights = self.example_weights(class_weight, data.labels)
        validation = self._validation(validation_data, batch_size)
        say = print if verbose else _say_nothing
        cache = cache_beside(self, cache, augmentation, say)
        keras_fit = super().fit

        def train_epochs(first: int, last: int, callbacks: Any) -> keras.callbacks.History:
            states = stored_states(self, cache, (data, validation), last - first, say)
            batches, held_out = train, validation
            if isinstance(validation, Examples):
                held_out = self._ordered(validation, batch_size)[0]
                held_out = held_out if states is None else states.batches(held_out)
            if states is not None:
                batches = states.batches(train)
            elif packing:
                batches = packed_batches(train, self.max_length, self.tokenizer.pad_id)
            # Variables made while the step is traced would have Keras trace all of it again.
            if not self.optimizer.built:
                with self.distribute_strategy.scope():
                    self.optimizer.build(self.trainable_variables)
            return keras_fit(
                weighted(batches, weights),
                epochs=last,
                verbose=verbose,
                callbacks=callbacks,
                validation_data=held_out,
                shuffle=False,
                initial_epoch=first,
                steps_per_epoch=steps_per_epoch,
                **kwargs,
            )

        steps = steps_per_epoch if steps_per_epoch is not None else known_cardinality(train)
        bind_schedule(self.optimizer, steps, epochs, initial_epoch)
        callbacks = [
            EpochNumber(epoch),
            *as_list(callbacks),
            StopOnNonFinite(weights=self.trainable_variables),
        ]
        if unfreezing is None:
            return train_epochs(initial_epoch, epochs, callbacks)
        store_for_stages(self, cache, (data, validation), stages, say)
        return run_stages(self, stages, train_epochs, callbacks, verbose=verbose, steps=steps, say=say)

    def evaluate(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        sample_weight: Any = None,
        **kwargs: Any,
    ) -> Any:
        """`keras.Model.evaluate` over raw text, in all the forms that `fit` takes."""
        return super().evaluate(self._inference(x, y, sample_weight, batch_size or 64)[0], **kwargs)

    def predict(self, x: Any, batch_size: int | None = None, **kwargs: Any) -> np.ndarray:
        """What the task makes of each text, in the order of the texts.

        Args:
            x: Texts or pairs in any form that `fit` takes; one string is a list of one.
            batch_size: Rows a batch; 64 by default.
            kwargs: As in Keras.

        Returns:
            One row a text; an array without rows for no texts.
        """
        batches, inverse = self._inference(x, None, None, batch_size or 64)
        if batches is None:
            return self._no_predictions()
        outputs = super().predict(batches, **kwargs)
        return outputs if inverse is None else outputs[inverse]

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> Any:
        loss = super().compute_loss(x=x, y=y, y_pred=y_pred, sample_weight=sample_weight, training=training)
        return weigh_by_rows(loss, y_pred) if training else loss

    def predict_step(self, data: Any) -> Any:
        return self.activate(super().predict_step(data))

    def _no_predictions(self) -> np.ndarray:
        return np.zeros((0, *self.output_width()), "float32")

    def output_width(self) -> tuple[int, ...]:
        """The shape of what `predict` returns for one text."""
        raise TransformerError(f"{type(self).__name__} does not say what shape its outputs have")

    # Datasets.

    def _maybe_symbolic_build(self, iterator: Any = None, data_batch: Any = None) -> None:
        if iterator is not None and self.distribute_strategy.num_replicas_in_sync > 1:
            iterator, data_batch = None, first_batch(self.distribute_strategy, iterator)
        super()._maybe_symbolic_build(iterator, data_batch)

    def _batches(self, *arguments: Any) -> tf.data.Dataset:
        return training_batches(self, *arguments)

    def _boundaries(self, examples: Examples) -> tuple[int, ...] | None:
        # XLA compiles anew for each shape; without it a batch is as long as its longest row.
        return length_buckets(examples.lengths, self.pack.max_length) if self.jit_compile else None

    def _stream(self, dataset: tf.data.Dataset, batch_size: int) -> tf.data.Dataset:
        pairs = dataset_has_pairs(dataset)
        self._note_pairs(pairs)
        return stream_batches(
            dataset,
            batch_size,
            tokenize=self.tokenizer.tokenize,
            pack=self.pack,
            max_length=self.pack.max_length,
            labels=self.stream_labels(),
            pad_id=self.tokenizer.pad_id,
        )

    def stream_labels(self) -> Sequence[str] | None:
        """Label names with which to read string labels of a dataset."""
        return None

    def _inference(
        self, x: Any, y: Any, sample_weight: Any, batch_size: int
    ) -> tuple[Any, np.ndarray | None]:
        if is_dataset(x):
            return x if is_tokenized(x) else self._stream(x, batch_size), None
        return self._ordered(self.preprocess(x, y, sample_weight), batch_size)

    def _ordered(self, examples: Examples, batch_size: int) -> tuple[Any, np.ndarray | None]:
        if not len(examples):
            return None, None
        return ordered_batches(examples, batch_size, boundaries=self._boundaries(examples))

    def _validation(self, data: Any, batch_size: int) -> Examples | tf.data.Dataset | None:
        if data is None or isinstance(data, Examples) or is_tokenized(data):
            return data
        if isinstance(data, Split) or is_dataset(data):
            data = (data,)
        if not isinstance(data, tuple) or not 1 <= len(data) <= 3:
            raise TransformerError(
                "validation_data must be a Split, a dataset, (texts, labels) or (texts, labels, weights); got "
                f"{type(data).__name__}"
            )
        if is_dataset(data[0]):
            return self._stream(data[0], batch_size)
        return self.preprocess(*data)


def _say_nothing(_: str) -> None:
    pass
