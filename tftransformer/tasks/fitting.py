"""One `fit` of a task in three steps: texts become examples, steps over the examples are put in order, Keras trains.

What does not combine (`CLASHES`) is refused or, where nobody asked for it, left out with a line.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
import tensorflow as tf

from tftransformer.data.augmentation.pipeline import Augmentation, as_augmentation
from tftransformer.data.augmentation.sources import EmbeddingNeighbours, encoder_neighbours
from tftransformer.data.augmented_batches import augmented_batches
from tftransformer.data.examples import Examples
from tftransformer.data.packed_batches import packed_batches
from tftransformer.data.pipeline import Epoch, token_batches
from tftransformer.data.texts import check_weights
from tftransformer.errors import TransformerError
from tftransformer.finetuning.activation_cache import StoredStates, choose_activation_cache
from tftransformer.finetuning.arguments import check_augmented
from tftransformer.finetuning.guards import StopOnNonFinite
from tftransformer.finetuning.optimizers import inner_optimizer
from tftransformer.finetuning.recipe import BATCH_SIZE, Recipe, plan_validation
from tftransformer.finetuning.schedule_length import bind_schedule, check_callbacks
from tftransformer.finetuning.schedules import Schedule
from tftransformer.finetuning.unfreezing import run_stages
from tftransformer.preprocessing.datasets import (
    batches_an_epoch,
    is_dataset,
    is_tokenized,
    only_without,
    same_size_in_each_epoch,
    with_known_size,
)
from tftransformer.tasks.collapse import RESTARTS, notice_collapse, restart, row_weights
from tftransformer.tasks.compilation import choose_xla
from tftransformer.tasks.keras_arguments import (
    EpochNumber,
    as_list,
    checked_batch_size,
    first_batches,
    split_end,
    weighted,
)
from tftransformer.tasks.planning import monitors_validation, recipe_as_compiled, sample, task_has_trained
from tftransformer.tasks.states import store_for_stages, stored_states

if TYPE_CHECKING:
    from tftransformer.models.task import Task
# The steps between texts and the network, in their order.
STEPS = {
    "augmentation": "augmentation",
    "chunks": "a task that cuts its texts into chunks",
    "teacher": "a teacher",
    "activation_cache": "an activation cache",
    "packing": "packing=True",
}
# Two of them that cannot both be taken, and why.
CLASHES = {
    ("augmentation", "teacher"): "the teacher runs once, over the texts as they are",
    ("augmentation", "activation_cache"): "it draws other texts in each epoch",
    ("chunks", "activation_cache"): "a text has several rows",
    ("chunks", "packing"): "a text has several rows",
    ("teacher", "activation_cache"): "the hidden states of frozen blocks are compared, too",
    ("teacher", "packing"): "its outputs are looked up row by row",
    ("activation_cache", "packing"): "stored vectors have a row for each text",
}


class Fitting:
    """One `fit`. Arguments are those of `TextTask.fit`.

    Attributes:
        data: What it trains on: Examples, or a dataset of batches.
        validation: The same of validation data; None without.
    """

    def __init__(
        self,
        task: "Task",
        *,
        batch_size: int | None,
        epochs: int | Recipe | None,
        initial_epoch: int,
        steps_per_epoch: int | None,
        callbacks: Any,
        verbose: Any,
        activation_cache: Any,
        augmentation: Any,
        packing: bool,
    ) -> None:
        self._cache, self._augmentation = (choose_activation_cache(activation_cache), as_augmentation(augmentation))
        self._packing = packing
        self._task = task
        self._verbose, self._say = verbose, print if verbose else lambda line: None
        self._teachers = [method for method in task.methods if method.defines("loss_step")]
        self._check_steps()
        task.check_compilation()
        check_callbacks(callbacks, task.optimizer)
        self._first, self._steps = initial_epoch, steps_per_epoch
        self._recipe = epochs if isinstance(epochs, Recipe) else None
        self._by_recipe = epochs is None or self._recipe is not None
        self._last = None if self._by_recipe else epochs
        if not self._by_recipe:
            self._plan_stages()
        self._batch_size = checked_batch_size(
            batch_size, BATCH_SIZE if self._recipe is None else self._recipe.batch_size
        )
        self._epoch = Epoch(initial_epoch)
        self._callbacks = callbacks
        self._validation_epochs: int | list[int] = 1
        # Those of the task, where the recipe has put others in their place.
        self._methods: tuple | None = None

    def _check_steps(self) -> None:
        """Refuse steps that clash; a cache that nobody asked for makes room, with a line where there is something to lose."""
        if self._augmentation is not None:
            check_augmented(self._task.methods)
        asked = {
            "augmentation": self._augmentation is not None,
            "chunks": self._task.in_chunks,
            "teacher": bool(self._teachers),
            "activation_cache": self._cache is not None,
            "packing": self._packing,
        }
        for (one, other), reason in CLASHES.items():
            if not (asked[one] and asked[other]):
                continue
            if "activation_cache" not in (one, other) or self._cache.persistent:
                raise TransformerError(f"{STEPS[other]} cannot go with {STEPS[one]}: {reason}")
            step = other if one == "activation_cache" else one
            if self._task.frozen_part() is not None and step in ("augmentation", "packing"):
                self._tell(f"activation cache: off with {STEPS[step]}: {reason}")
            self._cache, asked["activation_cache"] = None, False

    def _tell(self, line: object) -> None:
        """Say a line where somebody listens: a run has its lines printed, though Keras is not to print any."""
        (self._say if self._cache is None or self._cache.say is None else self._cache.say)(line)

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
                sample_weight=sample_weight, y=y, validation_split=validation_split, augmentation=self._augmentation
            )
            for method in task.methods:
                if method.defines("before_training") or method.defines("loss_step"):
                    what = "a teacher" if method.defines("loss_step") else method.name
                    raise TransformerError(f"{what} cannot go with a dataset: give a Split or texts")
            x = with_known_size("x", x, self._steps)
            self.data = x if is_tokenized(x) else task.stream_batches(x, self._batch_size)
            self._weights = task.objective.class_weights(class_weight, None)
            # A dataset without an end has its epochs said.
            seen = self.data if self._steps is None else self.data.take(self._steps)
            task.objective.learn(lambda: (batch[1].numpy() for batch in seen))
        else:
            self.data, held_out = split_end(task.preprocess(x, y, sample_weight), validation_split)
            if self.data.targets is None:
                raise TransformerError("fit needs labels: give a Split with targets, or y")
            if held_out is not None:
                only_without(validation_data=validation_data)
                validation_data = held_out
            self._shuffle = shuffle
            self._weigh(class_weight)
            task.objective.learn(lambda: [self.data.targets.values])
            for method in self._teachers[:1]:
                task.loss_step = method.loss_step(task, self.data)
        with task.preprocessor.deciding(x if is_dataset(x) else self.data):
            self.validation = task.validation_data(validation_data, self._batch_size, validation_steps)
        if self._last is None:
            self._follow_recipe(plans=validation_steps is None)
        if isinstance(self.data, Examples):
            self._choose_xla()
        # Keras counts the batches of a dataset itself; of examples they are taken here.
        self._validation_steps = validation_steps
        if isinstance(self.validation, Examples):
            self.validation = first_batches(self.validation, "validation_steps", validation_steps, self._batch_size)
            self._validation_steps = None

    def _weigh(self, class_weight: Any) -> None:
        """Note the weights of the classes, and leave out the rows whose weight is 0."""
        check_weights(self.data.weights)
        self.data = self.data.keep(row_weights(self.data, None))
        self._weights = self._task.objective.class_weights(class_weight, self.data.targets)
        self.data = self.data.keep(row_weights(self.data, self._weights))
        if not len(self.data):
            raise TransformerError("fit needs a row whose weight is above 0; sample_weight and class_weight leave none")

    def _plan_stages(self) -> None:
        methods = self._task.methods
        self._stages = [s for method in methods for s in method.stages(self._task, self._last, self._first)]

    def _follow_recipe(self, plans: bool) -> None:
        """Choose the number of epochs, the start of the head and the validations, where `fit` was given no epochs."""
        task = self._task
        recipe = self._choose_recipe() if self._recipe is None else self._recipe
        start = recipe.start_method()
        if start is not None:
            if self._augmentation is not None:
                check_augmented([start])
            self._methods = task.methods
            task.apply(start)
            task.check_compilation()
        if self._recipe is not None and task._compilation is not None:
            task._compilation.use_rate(task, recipe.learning_rate)
        self._last = self._first + recipe.epochs
        self._plan_stages()
        if self._recipe is None:
            self._tell(recipe)
        if plans and isinstance(self.validation, Examples) and recipe.epochs:
            every_epoch = any(map(monitors_validation, as_list(self._callbacks)))
            plan = plan_validation(recipe.rows, recipe.epochs, len(self.validation), every_epoch)
            if len(plan.epochs) < recipe.epochs or plan.rows < len(self.validation):
                self._tell(
                    f"validating {len(plan.epochs)} times, on {plan.rows:,} of {len(self.validation):,} rows: at most a quarter "
                    "of what training costs"
                )
            self.validation = sample(self.validation, plan.rows)
            self._validation_epochs = [self._first + epoch for epoch in plan.epochs]

    def _choose_recipe(self) -> Recipe:
        whole = isinstance(self.data, Examples)
        copies = 1 if self._augmentation is None else self._augmentation.rows_per_text
        steps = self._steps or self._batches_an_epoch()
        passed = {
            "steps_per_epoch": self._steps, "initial_epoch": self._first, "augmentation": self._augmentation
        }  # fmt: skip
        return recipe_as_compiled(
            self._task,
            len(self.data) * copies if whole and not self._steps else steps * self._batch_size,
            self._batch_size,
            solvable=whole,
            passed=[name for name, value in passed.items() if value],
        )

    def _choose_xla(self) -> None:
        updates = self._batches_an_epoch() * (self._last - self._first)
        # Each stage is compiled anew.
        choose_xla(self._task, updates // max(1, len(self._stages)))

    def _batches_an_epoch(self) -> int | None:
        if not isinstance(self.data, Examples):
            return batches_an_epoch(self.data)
        copies = 1 if self._augmentation is None else self._augmentation.rows_per_text
        return self.data.num_batches(self._batch_size, copies)

    # Steps over the examples.

    def _batches(self, states: StoredStates | None) -> tf.data.Dataset:
        """Batches as the network is given them: with a teacher's outputs, packed, or what frozen layers made of them."""
        task, step = self._task, self._task.loss_step
        if not isinstance(self.data, Examples):
            batches = self.data
        else:
            data = replace(self.data, numbered=states is not None or step is not None)
            changes = () if self._augmentation is None else (self._augmentation,)
            batches = task.training_batches(data, self._batch_size, self._shuffle, self._epoch, *changes)
        if states is not None:
            return states.batches(batches, self.data)
        if step is not None:
            return step.batches(batches, self.data)
        if not self._packing:
            return batches
        replicas = task.distribute_strategy.num_replicas_in_sync
        return packed_batches(batches, task.sequence_length, task.tokenizer.pad_id, replicas)

    def _held_out(self, states: StoredStates | None) -> tf.data.Dataset | None:
        """Batches of the validation data, as the network is given them."""
        if not isinstance(self.validation, Examples):
            return self.validation
        data = replace(self.validation, numbered=states is not None)
        batches = self._task.ordered_batches(data, self._batch_size)[0]
        return batches if states is None else states.batches(batches, data)

    # Keras trains.

    def train(self, keras_fit: Callable, options: Mapping[str, Any]) -> keras.callbacks.History:
        """Hand the batches to `keras.Model.fit`, stage by stage where a method has stages."""
        task = self._task
        if self._start() and (self._last == self._first or not all(method.takes_updates for method in task.methods)):
            history = self._look_once()
            if self._methods is not None:
                # It was for these rows, and nobody asked for it: what comes next may take updates.
                task.methods = self._methods
            return history
        steps = self._steps if self._steps is not None else self._batches_an_epoch()
        bind_schedule(task.optimizer, steps, self._last, self._first)
        run = None if steps is None else steps * (self._last - self._first)

        def train_epochs(first: int, last: int, callbacks: Any) -> keras.callbacks.History:
            return self._train_epochs(first, last, callbacks, keras_fit, options)

        def guarded(*noticing: keras.callbacks.Callback) -> list[keras.callbacks.Callback]:
            guards = [*noticing, StopOnNonFinite(weights=task.trainable_variables)]
            return [EpochNumber(self._epoch), *as_list(self._callbacks), *guards]

        if not self._stages:
            start = self._before_a_restart()
            for left in range(0 if start is None else RESTARTS, -1, -1):
                noticing = notice_collapse(task, self.data, run, self._weights, stop=left > 0)
                history = train_epochs(self._first, self._last, guarded(*noticing))
                if not left or not any(callback.collapsed for callback in noticing):
                    return history
                restart(task, start)
                bind_schedule(task.optimizer, steps, self._last, self._first)
        callbacks = guarded(*notice_collapse(task, self.data, run, self._weights))
        store_for_stages(task, self._cache, (self.data, self.validation), self._stages, self._say)
        return run_stages(
            task, self._stages, train_epochs, callbacks, verbose=self._verbose, steps=steps, say=self._say
        )

    def _before_a_restart(self) -> list[tuple[Any, np.ndarray]] | None:
        """The weights that train as they are now; None where a collapsed run is not to begin again: its rate was asked for."""
        task = self._task
        schedule = getattr(inner_optimizer(task.optimizer), "_learning_rate", None)
        if not self._by_recipe or not isinstance(schedule, Schedule) or self._first or task_has_trained(task):
            return None
        return [(weight, keras.ops.convert_to_numpy(weight)) for weight in task.trainable_variables]

    def _start(self) -> bool:
        """What methods do before the first update; a task that has trained goes on from where it is.

        Returns:
            Whether one has done something.
        """
        updated = task_has_trained(self._task) or self._first
        starting = [m for m in self._task.methods if m.defines("before_training") and not (updated and m.takes_updates)]
        for method in starting:
            weights = row_weights(self.data, self._weights)
            self._tell(method.before_training(self._task, self.data, weights, self._vectors))
        return bool(starting)

    def _vectors(self) -> np.ndarray:
        """(B, D): what the head sees of the training examples."""
        task = self._task
        states = stored_states(task, self._cache, (self.data, self.validation), self._last - self._first, self._say)
        if states is None:
            return task.encode(self.data)
        data = replace(self.data, numbered=True)
        batches, inverse = task.ordered_batches(data, task.inference_batch_size)
        return task.encode_batches(states.batches(batches, data), inverse)

    def _look_once(self) -> keras.callbacks.History:
        """The figures of a task that takes no updates, as those of one epoch."""
        task = self._task
        logs = task.evaluate(self.data, verbose=0, return_dict=True)
        if self.validation is not None:
            found = task.evaluate(self.validation, verbose=0, return_dict=True, steps=self._validation_steps)
            logs |= {f"val_{name}": value for name, value in found.items()}
        callbacks = keras.callbacks.CallbackList(
            as_list(self._callbacks), add_history=True, model=task, epochs=1, steps=0
        )
        callbacks.on_train_begin()
        callbacks.on_epoch_begin(0)
        callbacks.on_epoch_end(0, logs)
        callbacks.on_train_end(logs)
        return task.history

    def _train_epochs(
        self, first: int, last: int, callbacks: Any, keras_fit: Callable, options: Mapping[str, Any]
    ) -> keras.callbacks.History:
        task = self._task
        states = stored_states(task, self._cache, (self.data, self.validation), last - first, self._say)
        # Variables made while the step is traced would have Keras trace all of it again. A task whose layers are built by its
        # first call has none yet.
        if task.built and not task.optimizer.built:
            with task.distribute_strategy.scope():
                task.optimizer.build(task.trainable_variables)
        with same_size_in_each_epoch():
            return keras_fit(
                weighted(self._batches(states), self._weights),
                epochs=last,
                verbose=self._verbose,
                callbacks=callbacks,
                validation_data=self._held_out(states),
                validation_steps=self._validation_steps,
                shuffle=False,
                initial_epoch=first,
                steps_per_epoch=self._steps,
                **{"validation_freq": self._validation_epochs, **options},
            )


def training_batches(
    task: "Task",
    examples: Examples,
    batch_size: int,
    shuffle: bool,
    epoch: Epoch,
    augmentation: Augmentation | None = None,
) -> tf.data.Dataset:
    """Batches for `fit`.

    Args:
        task: A `TextTask`.
        examples: To train on.
        batch_size: Rows a batch.
        shuffle: A new order in each epoch, by the task's seed.
        epoch: Keeps the number of the epoch.
        augmentation: What changes the texts; None leaves them.

    Returns:
        As `token_batches`.

    Raises:
        TransformerError: The augmentation does not go with the texts.
    """
    settings = {
        "boundaries": task.boundaries(examples), "shuffle": shuffle, "seed": task.seed, "epoch": epoch
    }  # fmt: skip
    if augmentation is None:
        return token_batches(examples, batch_size, **settings)
    if examples.all_texts is None:
        raise TransformerError(
            f"augmentation is for texts with a target of their own; those of a {type(task).__name__} are of tokens"
        )
    texts = examples.texts()

    def neighbours() -> EmbeddingNeighbours:
        table = keras.ops.convert_to_numpy(task.encoder.get_layer("embeddings").token.embeddings)
        return encoder_neighbours(task.tokenizer.spec(), np.asarray(table, "float32"))

    augmentation.prepare(texts, neighbours)
    return augmented_batches(
        augmentation,
        texts,
        examples,
        batch_size,
        tokenize=task.tokenizer.tokenize,
        pack=task.preprocessor.pack,
        **settings,
    )
