"""One `fit` of a task in three steps: texts become examples, steps over the examples are put in order, Keras trains.

The order on the way to the network: augmentation changes the texts, a teacher's outputs are added to a batch, and then
the batch is what stored activations of frozen layers give for it, or its texts share rows (packing). What does not
combine is refused or, where nobody asked for it, left out with a line.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tftransformer.data.augmentation.pipeline import Augmentation, as_augmentation
from tftransformer.data.augmentation.sources import EmbeddingNeighbours, encoder_neighbours
from tftransformer.data.augmented_batches import augmented_batches
from tftransformer.data.examples import Examples
from tftransformer.data.packed_batches import packed_batches
from tftransformer.data.pipeline import Epoch, num_batches, token_batches
from tftransformer.data.records import as_records
from tftransformer.errors import TransformerError
from tftransformer.finetuning.activation_cache import ActivationCache, StoredStates, choose_activation_cache
from tftransformer.finetuning.collapse import NoticeCollapse, chance_loss
from tftransformer.finetuning.guards import StopOnNonFinite
from tftransformer.finetuning.losses import SmoothedCrossEntropy
from tftransformer.finetuning.methods import Method
from tftransformer.finetuning.schedule_length import bind_schedule, check_callbacks, warmup_updates
from tftransformer.finetuning.unfreezing import Stage, frozen_as_in, run_stages
from tftransformer.tasks.compilation import choose_xla
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
    weighted,
    with_known_size,
)
from tftransformer.tasks.labelled import Labelled


class Fitting:
    """One `fit`. Arguments are those of `TextTask.fit`.

    Attributes:
        data: What it trains on: Examples, or a dataset of batches.
        validation: The same of validation data; None without.
        batches: Of token ids, before stored activations or packing.
    """

    def __init__(
        self,
        task: Any,
        *,
        batch_size: int | None,
        epochs: int,
        initial_epoch: int,
        steps_per_epoch: int | None,
        callbacks: Any,
        verbose: Any,
        activation_cache: Any,
        augmentation: Any,
        packing: bool,
    ) -> None:
        self._cache, self._augmentation = (
            choose_activation_cache(activation_cache),
            as_augmentation(augmentation),
        )
        self._packing = packing
        task.check_compilation()
        check_callbacks(callbacks, task.optimizer)
        self._task = task
        self._stages = [
            stage for method in task.methods for stage in method.stages(task, epochs, initial_epoch)
        ]
        self._first, self._last, self._steps = initial_epoch, epochs, steps_per_epoch
        self._batch_size = batch_size or 32
        self._epoch = Epoch(initial_epoch)
        self._callbacks, self._verbose = callbacks, verbose
        self._say = print if verbose else _say_nothing

    # Texts to examples.

    def prepare(
        self,
        x: Any,
        y: Any,
        sample_weight: Any,
        *,
        class_weight: Any,
        shuffle: bool,
        validation_split: float,
        validation_data: Any,
        validation_steps: int | None,
    ) -> None:
        """Read what to train and to validate on, once, and make batches of it."""
        task = self._task
        if is_tokenized(x):
            only_without(class_weight=class_weight)
        if is_dataset(x):
            only_without(
                sample_weight=sample_weight,
                y=y,
                validation_split=validation_split,
                augmentation=self._augmentation,
            )
            x = with_known_size("x", x, self._steps)
            self.data = self.batches = x if is_tokenized(x) else task._stream(x, self._batch_size)
            self._weights = task.example_weights(class_weight, None)
        else:
            self.data, held_out = split_end(task.preprocess(x, y, sample_weight), validation_split)
            if self.data.labels is None:
                raise TransformerError("fit needs labels: give a Split with targets, or y")
            if held_out is not None:
                only_without(validation_data=validation_data)
                validation_data = held_out
            self._choose_xla()
            changes = () if self._augmentation is None else (self._augmentation, x)
            self.batches = task._batches(self.data, self._batch_size, shuffle, self._epoch, *changes)
            self._weights = task.example_weights(class_weight, self.data.labels)
        self._add_loss_step(x)
        with task._deciding_pairs(x if is_dataset(x) else self.data):
            self.validation = task._validation(validation_data, self._batch_size, validation_steps)
        # Keras counts the batches of a dataset itself; of examples they are taken here.
        self._validation_steps = validation_steps
        if isinstance(self.validation, Examples):
            self.validation = first_batches(
                self.validation, "validation_steps", validation_steps, self._batch_size
            )
            self._validation_steps = None

    def _choose_xla(self) -> None:
        copies = 1 if self._augmentation is None else self._augmentation.rows_per_text
        updates = num_batches(len(self.data) * copies, self._batch_size) * (self._last - self._first)
        # Each stage is compiled anew.
        choose_xla(self._task, updates // max(1, len(self._stages)))

    # Steps over the examples.

    def _add_loss_step(self, texts: Any) -> None:
        """Have a method, such as a teacher, add to batches and loss."""
        methods = [m for m in self._task.methods if type(m).loss_step is not Method.loss_step]
        if not methods:
            return
        reason = ""
        if self._augmentation is not None:
            reason = "augmentation: the teacher runs once, over the texts as they are"
        elif self._packing:
            reason = "packing: its outputs are looked up row by row"
        elif not isinstance(self.data, Examples):
            reason = "a dataset: give a Split or texts"
        if reason:
            raise TransformerError(f"{methods[0]} cannot go with {reason}")
        self._task.loss_step = methods[0].loss_step(self._task, self.data, texts)
        self.batches = self._task.loss_step.batches(self.batches)

    def _cache_that_goes_along(self) -> ActivationCache | None:
        """The activation cache, unless another step makes it useless; a line says so where there is something to lose."""
        cache, reason = self._cache, ""
        if self._task.loss_step is not None:
            reason = "the teacher's outputs are looked up by the texts' tokens"
        elif self._augmentation is not None:
            reason = "augmentation draws other texts in each epoch"
        if cache is None or not reason:
            return cache
        if cache.persistent or (self._augmentation is not None and self._task.frozen_part() is not None):
            (cache.say or self._say)(f"activation cache: off, {reason}")
        return None

    def _rows(self, states: StoredStates | None, say: Callable[[str], None]) -> tf.data.Dataset:
        """Batches as the network is given them: as they are, packed, or as what frozen layers made of them."""
        task = self._task
        if states is not None:
            if self._packing:
                say("packing: off, epochs train from stored vectors, each text in a row of its own")
            return states.batches(self.batches)
        if not self._packing:
            return self.batches
        replicas = task.distribute_strategy.num_replicas_in_sync
        return packed_batches(self.batches, task.max_length, task.tokenizer.pad_id, replicas)

    # Keras trains.

    def train(self, keras_fit: Callable, options: Mapping[str, Any]) -> keras.callbacks.History:
        """Hand the batches to `keras.Model.fit`, stage by stage where a method has stages."""
        task = self._task
        steps = self._steps if self._steps is not None else batches_an_epoch(self.batches)
        bind_schedule(task.optimizer, steps, self._last, self._first)
        run = None if steps is None else steps * (self._last - self._first)
        guards = [
            *notice_collapse(task, self.data, run, self._weights),
            StopOnNonFinite(weights=task.trainable_variables),
        ]
        callbacks = [EpochNumber(self._epoch), *as_list(self._callbacks), *guards]
        cache = self._cache_that_goes_along()

        def train_epochs(first: int, last: int, callbacks: Any) -> keras.callbacks.History:
            return self._train_epochs(first, last, callbacks, cache, keras_fit, options)

        if not self._stages:
            return train_epochs(self._first, self._last, callbacks)
        store_for_stages(task, cache, (self.data, self.validation), self._stages, self._say)
        return run_stages(
            task,
            self._stages,
            train_epochs,
            callbacks,
            verbose=self._verbose,
            steps=steps,
            say=self._say,
        )

    def _train_epochs(
        self,
        first: int,
        last: int,
        callbacks: Any,
        cache: ActivationCache | None,
        keras_fit: Callable,
        options: Mapping[str, Any],
    ) -> keras.callbacks.History:
        task = self._task
        states = stored_states(task, cache, (self.data, self.validation), last - first, self._say)
        held_out = self.validation
        if isinstance(held_out, Examples):
            held_out = task._ordered(held_out, self._batch_size)[0]
            held_out = held_out if states is None else states.batches(held_out)
        batches = self._rows(states, self._say if first == self._first else _say_nothing)
        # Variables made while the step is traced would have Keras trace all of it again.
        if not task.optimizer.built:
            with task.distribute_strategy.scope():
                task.optimizer.build(task.trainable_variables)
        with same_size_in_each_epoch():
            return keras_fit(
                weighted(batches, self._weights),
                epochs=last,
                verbose=self._verbose,
                callbacks=callbacks,
                validation_data=held_out,
                validation_steps=self._validation_steps,
                shuffle=False,
                initial_epoch=first,
                steps_per_epoch=self._steps,
                **options,
            )


def training_batches(
    task: Any,
    examples: Examples,
    batch_size: int,
    shuffle: bool,
    epoch: Epoch,
    augmentation: Augmentation | None = None,
    texts: Any = None,
) -> tf.data.Dataset:
    """Batches for `fit`.

    Args:
        task: A `TextTask`.
        examples: To train on.
        batch_size: Rows a batch.
        shuffle: A new order in each epoch, by the task's seed.
        epoch: Keeps the number of the epoch.
        augmentation: What changes the texts; None leaves them.
        texts: In any form that `fit` takes; the examples are of the first of them.

    Returns:
        As `token_batches`.

    Raises:
        TransformerError: The augmentation does not go with the texts.
    """
    settings = {
        "boundaries": task._boundaries(examples), "shuffle": shuffle, "seed": task.seed, "epoch": epoch
    }  # fmt: skip
    if augmentation is None:
        return token_batches(examples, batch_size, **settings)
    records = as_records(texts)
    if len(records) < len(examples):
        raise TransformerError(
            f"augmentation reads the texts a second time: give them in a list or a Split; got {type(texts).__name__}"
        )
    records = records.take(range(len(examples)))

    def neighbours() -> EmbeddingNeighbours:
        table = keras.ops.convert_to_numpy(task.encoder.get_layer("embeddings").token.embeddings)
        return encoder_neighbours(task.tokenizer.spec(), np.asarray(table, "float32"))

    augmentation.prepare(records, neighbours)
    return augmented_batches(
        augmentation,
        records,
        examples,
        batch_size,
        tokenize=task.tokenizer.tokenize,
        pack=task.pack,
        **settings,
    )


def stored_states(
    task: Any,
    cache: ActivationCache | None,
    data: Sequence[Any],
    passes: int,
    say: Callable[[str], None],
) -> StoredStates | None:
    """The outputs of a task's frozen layers for the data of a `fit`, if that pays.

    Args:
        task: Has `frozen_part`.
        cache: None where the user wants none.
        data: Training data, then validation data: Examples, datasets or None.
        passes: Epochs to come.
        say: Takes the line that says what happens.

    Returns:
        What turns batches of token ids into batches of states; None to train from token ids.
    """
    if cache is None or passes < 1:
        return None
    frozen = task.frozen_part()
    reason = ""
    if frozen is None:
        reason = "the embeddings and the first block are not frozen"
    elif not isinstance(data[0], Examples):
        reason = "a tf.data.Dataset may differ in each epoch; pass texts or a Split"
    if reason:
        # Where nobody asked there is nothing to explain.
        if cache.persistent:
            (cache.say or say)(f"activation cache: off, {reason}")
        return None
    return cache.states(frozen, [part for part in data if isinstance(part, Examples)], passes, say)


def store_for_stages(
    task: Any,
    cache: ActivationCache | None,
    data: Sequence[Any],
    stages: Sequence[Stage],
    say: Callable[[str], None],
) -> None:
    """Store what every stage of gradual unfreezing will train from, in one run through the frozen layers.

    A later stage trains from further down. What lies lowest is run first, and each stage before goes on from there.

    Args:
        task, cache, data, say: As for `stored_states`.
        stages: Of `GradualUnfreezing.stages`.
    """
    if cache is None or not isinstance(data[0], Examples):
        return
    parts = [part for part in data if isinstance(part, Examples)]
    frozen_parts = []
    for stage in stages:
        with frozen_as_in(task, stage):
            frozen_parts.append(task.frozen_part())
    passes = sum(
        stage.last - stage.first for stage, frozen in zip(stages, frozen_parts) if frozen is not None
    )
    lower = None
    for frozen in reversed(frozen_parts):
        if frozen is not None and passes > 1:
            if cache.states(frozen, parts, passes, say, lower) is None:
                return
            lower = frozen


def _say_nothing(_: str) -> None:
    pass


# When `fit` looks whether a classifier has collapsed: where its loss can be compared with that of guessing.

_LOSSES = (
    keras.losses.SparseCategoricalCrossentropy,
    keras.losses.BinaryCrossentropy,
    SmoothedCrossEntropy,
)
_PROBED_ROWS = 32


def notice_collapse(
    task: Any, data: Any, batches: int | None, class_weights: tf.Tensor | None = None
) -> list[keras.callbacks.Callback]:
    """The callback that looks, or none: cross-entropy alone, on labels that are all known before training.

    Args:
        task: A compiled task, whose schedule knows its length.
        data: What it trains on; labels of a `tf.data.Dataset` are not known beforehand.
        batches: Batches of the run, None where nobody knows.
        class_weights: Of `example_weights`.
    """
    plain = (
        isinstance(task.loss, _LOSSES) and task.loss.reduction == "sum_over_batch_size" and not task.losses
    )
    taught = task.loss_step is not None
    if not (isinstance(data, Examples) and isinstance(task, Labelled) and plain) or taught:
        return []
    weights = data.weights
    if class_weights is not None:
        own = np.asarray(class_weights)[data.labels]
        weights = own if weights is None else own * weights
    smoothing = getattr(task.loss, "label_smoothing", 0.0)
    chance = chance_loss(data.labels, len(task.labels), smoothing, weights)
    some = data.take(range(0, len(data), -(-len(data) // _PROBED_ROWS)))

    def probe() -> np.ndarray:
        batch = next(iter(task._ordered(some, len(some))[0]))
        logits = task(batch[0] if isinstance(batch, tuple) else batch, training=False)
        return keras.ops.convert_to_numpy(task.activate(keras.ops.cast(logits, "float32")))

    accumulated = getattr(task.optimizer, "gradient_accumulation_steps", None) or 1
    return [NoticeCollapse(chance, probe, warmup_updates(task.optimizer), batches, accumulated)]
