"""What every task over raw text shares: texts become integer batches, then Keras's own loops run."""

import os
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tftransformer.data.augmentation.pipeline import Augmentation, as_augmentation
from tftransformer.data.buckets import length_buckets
from tftransformer.data.examples import Examples, packer
from tftransformer.data.pipeline import Epoch, num_batches
from tftransformer.data.stream_labels import plain_refusals
from tftransformer.errors import TransformerError
from tftransformer.finetuning.frozen_prefix import FrozenPrefix
from tftransformer.finetuning.prefix_cache import PrefixCache, choose_prefix_cache
from tftransformer.finetuning.schedule_length import bind_schedule, check_callbacks
from tftransformer.finetuning.tracing import TracedForm, TracedForms
from tftransformer.finetuning.unfreezing import GradualUnfreezing, run_stages, stages_of
from tftransformer.tasks.cached_batches import store_for_stages, stored_states
from tftransformer.tasks.collapse import notice_collapse
from tftransformer.tasks.compilation import Compilation, choose_xla
from tftransformer.tasks.inputs import (
    EpochNumber,
    as_list,
    batches_an_epoch,
    first_batches,
    is_dataset,
    is_tokenized,
    only_without,
    same_size_in_each_epoch,
    split_end,
    texts_alone,
    weighted,
    with_known_size,
)
from tftransformer.tasks.replicas import first_batch, weigh_by_rows
from tftransformer.tasks.text_batches import TextBatches
from tftransformer.tasks.training_batches import cache_beside, rows_to_train_on, training_batches
from tftransformer.training.guards import StopOnNonFinite


class TextTask(TextBatches, keras.Model):
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
        self._traces = TracedForms()
        self._compilation: Compilation | None = None

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

    # Keras's loops.

    @plain_refusals
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
            x: A `Split`; texts in a list, string array or column; pairs as tuples in a list; a table with the column
                `text` and, for pairs, `text_pair` (see `data.records.as_records`); a `tf.data.Dataset` of (text,
                label) or (text, label, weight), batched or not, whose order is kept; or a dataset of integer batches,
                as a task makes them. A dataset of unknown size is read once to count it.
            y: Labels, by name or id as `data.labels` says for all forms of data, where `x` comes without.
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
                On CPUs batches of like lengths are faster. Off, with a line that says so, where a prefix cache trains
                from stored vectors.
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
        self.check_compilation()
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
            x = with_known_size("x", x, steps_per_epoch)
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
        self._decide_pairs(x if is_dataset(x) else data)
        validation = self._validation(validation_data, batch_size, kwargs.get("validation_steps"))
        if isinstance(validation, Examples):
            validation = first_batches(validation, kwargs.pop("validation_steps", None), batch_size)
        say = print if verbose else _say_nothing
        cache = cache_beside(self, cache, augmentation, say)
        keras_fit = same_size_in_each_epoch()(super().fit)

        def train_epochs(first: int, last: int, callbacks: Any) -> keras.callbacks.History:
            states = stored_states(self, cache, (data, validation), last - first, say)
            held_out = validation
            if isinstance(validation, Examples):
                held_out = self._ordered(validation, batch_size)[0]
                held_out = held_out if states is None else states.batches(held_out)
            tell = say if first == initial_epoch else _say_nothing
            batches = rows_to_train_on(self, train, states, packing, tell)
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

        steps = steps_per_epoch if steps_per_epoch is not None else batches_an_epoch(train)
        bind_schedule(self.optimizer, steps, epochs, initial_epoch)
        run = None if steps is None else steps * (epochs - initial_epoch)
        guards = [
            *notice_collapse(self, data, run, weights),
            StopOnNonFinite(weights=self.trainable_variables),
        ]
        callbacks = [EpochNumber(epoch), *as_list(callbacks), *guards]
        if unfreezing is None:
            return train_epochs(initial_epoch, epochs, callbacks)
        store_for_stages(self, cache, (data, validation), stages, say)
        return run_stages(self, stages, train_epochs, callbacks, verbose=verbose, steps=steps, say=say)

    @plain_refusals
    def evaluate(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        sample_weight: Any = None,
        **kwargs: Any,
    ) -> Any:
        """`keras.Model.evaluate` over raw text, in all the forms that `fit` takes.

        Raises:
            TransformerError: There are no rows, or no labels.
        """
        batches, _ = self._inference(x, y, sample_weight, batch_size or 64, kwargs)
        if batches is None or not isinstance(batches.element_spec, tuple):
            missing = "at least one row" if batches is None else "labels: give a Split with targets, or y"
            raise TransformerError(f"evaluate needs {missing}")
        return super().evaluate(batches, **kwargs)

    def predict(self, x: Any, batch_size: int | None = None, **kwargs: Any) -> np.ndarray:
        """What the task makes of each text, in the order of the texts.

        Args:
            x: Texts or pairs in any form that `fit` takes; one string is a list of one. Labels are not looked at.
            batch_size: Rows a batch; 64 by default.
            kwargs: As in Keras; `steps` takes only so many batches of the first texts.

        Returns:
            One row a text; an array without rows for no texts.
        """
        batches, inverse = self._inference(texts_alone(x), None, None, batch_size or 64, kwargs)
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

    # What was changed after `compile`, or after a first `fit`, `evaluate` or `predict`.

    def traced_settings(self) -> tuple:
        """What a trace reads of the task itself, beside its layers and weights."""
        return ()

    def check_compilation(self) -> None:
        """Make sure that the optimizer is one for the weights that train now; every training asks.

        What is put in or frozen between `compile` and the first training is compiled for with the arguments that
        `compile` was given, so that each weight has the rate that these mean.

        Raises:
            TransformerError: The optimizer has trained, or was loaded, with other weights: they would be lost.
        """
        # What `compile` makes belongs to the replicas that the model was built for.
        with self.distribute_strategy.scope():
            if not self.compiled:
                self.compile()
            elif self._compilation is not None:
                self._compilation.check(self)

    def _outdated(self, function: str) -> bool:
        return self._traces.outdated(function, TracedForm(self, self.traced_settings()))

    def make_train_function(self, force: bool = False) -> Any:
        self.check_compilation()
        return super().make_train_function(force=self._outdated("train") or force)

    def make_test_function(self, force: bool = False) -> Any:
        return super().make_test_function(force=self._outdated("test") or force)

    def make_predict_function(self, force: bool = False) -> Any:
        return super().make_predict_function(force=self._outdated("predict") or force)

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


def _say_nothing(_: str) -> None:
    pass
