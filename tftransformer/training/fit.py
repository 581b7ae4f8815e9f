"""`fit` of a task, from top to bottom: the data are read, a plan is made where none was given, Keras trains.

Steps that do not combine (`CLASHES`) are refused or, where nobody asked for them, left out with a line of output.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
import tensorflow as tf

from tftransformer.data.augmentation.pipeline import Augmentation, as_augmentation
from tftransformer.data.examples import Examples
from tftransformer.data.packed_batches import packed_batches
from tftransformer.data.pipeline import Epoch
from tftransformer.data.texts import check_weights
from tftransformer.errors import TransformerError
from tftransformer.finetuning.activation_cache import ActivationCache, StoredStates, choose_activation_cache
from tftransformer.finetuning.arguments import check_augmented
from tftransformer.finetuning.guards import StopOnNonFinite
from tftransformer.finetuning.optimizers import inner_optimizer
from tftransformer.finetuning.recipe import BATCH_SIZE, Recipe, plan_validation
from tftransformer.finetuning.schedule_length import bind_schedule, check_callbacks
from tftransformer.finetuning.schedules import Schedule
from tftransformer.finetuning.unfreezing import Stage, run_stages
from tftransformer.preprocessing.datasets import (
    batches_an_epoch,
    is_dataset,
    is_tokenized,
    reject_arguments,
    same_size_in_each_epoch,
    with_known_size,
)
from tftransformer.training.collapse import RESTARTS, collapse_monitors, restart, row_weights
from tftransformer.training.compilation import choose_xla
from tftransformer.training.keras_arguments import (
    EpochNumber,
    as_list,
    checked_batch_size,
    first_batches,
    split_end,
    weighted,
)
from tftransformer.training.planning import monitors_validation, recipe_as_compiled, sample, task_has_trained
from tftransformer.training.stored_states import store_for_stages, stored_states

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


@dataclass
class Run:
    """State of one `fit`: its arguments, and then the results of each step.

    Args:
        task: The task.
        callbacks, verbose, steps_per_epoch, packing: As given.
        first, last: Numbers of the first epoch and of the one behind the last; `last` is None until a recipe says it.
        batch_size: Rows a batch.
        recipe: The recipe that was given in place of epochs.
        by_recipe: Whether epochs come from a recipe, given or chosen.
        cache, augmentation: None where there is none.
        epoch: The number of the epoch, for batches.
        data: Training data: Examples, or a dataset of batches.
        validation: The same of validation data; None without.
        validation_steps: How many batches of it Keras takes; None where they are chosen already.
        validation_epochs: Keras's `validation_freq`.
        class_weights: Weights of the classes.
        shuffle: Whether epochs have orders of their own.
        stages: Stages of gradual unfreezing.
        methods: The task's own methods, where the recipe has put others in their place.
    """

    task: "Task"
    callbacks: Any
    verbose: Any
    steps_per_epoch: int | None
    packing: bool
    first: int
    last: int | None
    batch_size: int
    recipe: Recipe | None
    by_recipe: bool
    cache: ActivationCache | None
    augmentation: Augmentation | None
    epoch: Epoch
    data: Any = None
    validation: Any = None
    validation_steps: int | None = None
    validation_epochs: int | list[int] = 1
    class_weights: tf.Tensor | None = None
    shuffle: bool = True
    stages: Sequence[Stage] = ()
    methods: tuple | None = None

    def say(self, line: object) -> None:
        """Print a line, unless Keras is to print nothing."""
        if self.verbose:
            print(line)

    def tell(self, line: object) -> None:
        """Say a line where somebody listens: a run of a command has its lines printed, though Keras is not to print any."""
        (self.say if self.cache is None or self.cache.say is None else self.cache.say)(line)


def fit(
    task: "Task",
    keras_fit: Callable,
    x: Any,
    y: Any,
    sample_weight: Any,
    *,
    class_weight: Any,
    shuffle: bool,
    validation_split: float,
    validation_data: Any,
    validation_steps: int | None,
    options: Mapping[str, Any],
    **asked: Any,
) -> keras.callbacks.History:
    """Train a task: read the data, plan, start, train.

    Args:
        task: The task.
        keras_fit: `keras.Model.fit`, bound to it.
        x, y, sample_weight, class_weight, shuffle, validation_split, validation_data, validation_steps: As for `Task.fit`.
        options: Arguments that go to `keras.Model.fit` as they are.
        asked: As for `begin`.
    """
    run = begin(task, **asked)
    run.shuffle = shuffle
    held_out = read_training_data(run, x, y, sample_weight, class_weight, validation_split)
    if held_out is not None:
        reject_arguments(validation_data=validation_data)
        validation_data = held_out
    with task.preprocessor.deciding(x if is_dataset(x) else run.data):
        run.validation = task.validation_data(validation_data, run.batch_size, validation_steps)
    if run.last is None:
        follow_recipe(run, plans=validation_steps is None)
    if isinstance(run.data, Examples):
        # Each stage is compiled anew.
        choose_xla(task, batches_of_epoch(run) * (run.last - run.first) // max(1, len(run.stages)))
    # Keras counts the batches of a dataset itself; of examples they are taken here.
    run.validation_steps = validation_steps
    if isinstance(run.validation, Examples):
        run.validation = first_batches(run.validation, "validation_steps", validation_steps, run.batch_size)
        run.validation_steps = None
    if start(run) and (run.last == run.first or not all(method.takes_updates for method in task.methods)):
        history = look_once(run)
        if run.methods is not None:
            # It was for these rows, and nobody asked for it: what comes next may take updates.
            task.methods = run.methods
        return history
    return train(run, keras_fit, options)


# What was asked for.


def begin(
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
) -> Run:
    """Check the arguments of `Task.fit` that are no data, before any text is read."""
    recipe = epochs if isinstance(epochs, Recipe) else None
    run = Run(
        task,
        callbacks,
        verbose,
        steps_per_epoch,
        packing,
        first=initial_epoch,
        last=None if recipe is not None else epochs,
        batch_size=checked_batch_size(batch_size, BATCH_SIZE if recipe is None else recipe.batch_size),
        recipe=recipe,
        by_recipe=recipe is not None or epochs is None,
        cache=choose_activation_cache(activation_cache),
        augmentation=as_augmentation(augmentation),
        epoch=Epoch(initial_epoch),
    )
    refuse_clashes(run)
    task.check_compilation()
    check_callbacks(callbacks, task.optimizer)
    if run.last is not None:
        run.stages = planned_stages(run)
    return run


def refuse_clashes(run: Run) -> None:
    """Refuse steps that clash; a cache that nobody asked for makes room, with a line where there is something to lose."""
    task = run.task
    if run.augmentation is not None:
        check_augmented(task.methods)
    asked = {
        "augmentation": run.augmentation is not None,
        "chunks": task.in_chunks,
        "teacher": bool(teachers(task)),
        "activation_cache": run.cache is not None,
        "packing": run.packing,
    }
    for (one, other), reason in CLASHES.items():
        if not (asked[one] and asked[other]):
            continue
        if "activation_cache" not in (one, other) or run.cache.persistent:
            raise TransformerError(f"{STEPS[other]} cannot go with {STEPS[one]}: {reason}")
        step = other if one == "activation_cache" else one
        if task.frozen_part() is not None and step in ("augmentation", "packing"):
            run.tell(f"activation cache: off with {STEPS[step]}: {reason}")
        run.cache, asked["activation_cache"] = None, False


def teachers(task: "Task") -> list[Any]:
    """Return the methods that add something to the loss."""
    return [method for method in task.methods if "loss_step" in method.hooks]


def planned_stages(run: Run) -> list[Stage]:
    """Return the stages that the task's methods want of these epochs."""
    return [stage for method in run.task.methods for stage in method.stages(run.task, run.last, run.first)]


# The data.


def read_training_data(
    run: Run, x: Any, y: Any, sample_weight: Any, class_weight: Any, validation_split: float
) -> Examples | None:
    """Read what to train on, once; return the rows that `validation_split` holds out."""
    if is_tokenized(x):
        reject_arguments(class_weight=class_weight)
    if is_dataset(x):
        reject_arguments(
            sample_weight=sample_weight, y=y, validation_split=validation_split, augmentation=run.augmentation
        )
        read_dataset(run, x, class_weight)
        return None
    task = run.task
    run.data, held_out = split_end(task.preprocess(x, y, sample_weight), validation_split)
    if run.data.targets is None:
        raise TransformerError("fit needs labels: give a Split with targets, or y")
    # Rows whose weight is 0 are left out, as if they were not there.
    check_weights(run.data.weights)
    run.data = run.data.keep(row_weights(run.data, None))
    run.class_weights = task.objective.class_weights(class_weight, run.data.targets)
    run.data = run.data.keep(row_weights(run.data, run.class_weights))
    if not len(run.data):
        raise TransformerError("fit needs a row whose weight is above 0; sample_weight and class_weight leave none")
    task.objective.learn(lambda: [run.data.targets.values])
    for method in teachers(task)[:1]:
        task.loss_step = method.loss_step(task, run.data)
    return held_out


def read_dataset(run: Run, x: tf.data.Dataset, class_weight: Any) -> None:
    """Make batches of a dataset, whose rows are not known beforehand."""
    task = run.task
    for method in task.methods:
        if {"before_training", "loss_step"} & set(method.hooks):
            what = "a teacher" if "loss_step" in method.hooks else method.name
            raise TransformerError(f"{what} cannot go with a dataset: give a Split or texts")
    x = with_known_size("x", x, run.steps_per_epoch)
    run.data = x if is_tokenized(x) else task.stream_batches(x, run.batch_size)
    run.class_weights = task.objective.class_weights(class_weight, None)
    # A dataset without an end has its epochs said.
    seen = run.data if run.steps_per_epoch is None else run.data.take(run.steps_per_epoch)
    task.objective.learn(lambda: (batch[1].numpy() for batch in seen))


def batches_of_epoch(run: Run) -> int | None:
    """Return the batches of an epoch; None where the data have no end."""
    if not isinstance(run.data, Examples):
        return batches_an_epoch(run.data)
    return run.data.num_batches(run.batch_size, copies(run))


def copies(run: Run) -> int:
    """Return how often an epoch has each row."""
    return 1 if run.augmentation is None else run.augmentation.rows_per_text


# The plan, where no epochs were given.


def follow_recipe(run: Run, plans: bool) -> None:
    """Choose the number of epochs, the start of the head and, where it `plans`, the validations."""
    task, recipe = run.task, run.recipe or chosen_recipe(run)
    start_method = recipe.start_method()
    if start_method is not None:
        if run.augmentation is not None:
            check_augmented([start_method])
        run.methods = task.methods
        task.apply(start_method)
        task.check_compilation()
    if run.recipe is not None:
        task.use_rate(recipe.learning_rate)
    run.last = run.first + recipe.epochs
    run.stages = planned_stages(run)
    if run.recipe is None:
        run.tell(recipe)
    if plans and isinstance(run.validation, Examples) and recipe.epochs:
        every_epoch = any(map(monitors_validation, as_list(run.callbacks)))
        plan = plan_validation(recipe.rows, recipe.epochs, len(run.validation), every_epoch)
        if len(plan.epochs) < recipe.epochs or plan.rows < len(run.validation):
            run.tell(
                f"validating {len(plan.epochs)} times, on {plan.rows:,} of {len(run.validation):,} rows: at most a quarter "
                "of what training costs"
            )
        run.validation = sample(run.validation, plan.rows)
        run.validation_epochs = [run.first + epoch for epoch in plan.epochs]


def chosen_recipe(run: Run) -> Recipe:
    """Return the recipe for these rows, which leaves what was compiled and passed as it is."""
    whole = isinstance(run.data, Examples)
    steps = run.steps_per_epoch or batches_of_epoch(run)
    passed = {
        "steps_per_epoch": run.steps_per_epoch, "initial_epoch": run.first, "augmentation": run.augmentation
    }  # fmt: skip
    return recipe_as_compiled(
        run.task,
        len(run.data) * copies(run) if whole and not run.steps_per_epoch else steps * run.batch_size,
        run.batch_size,
        solvable=whole,
        passed=[name for name, value in passed.items() if value],
    )


# What comes before the first update.


def start(run: Run) -> bool:
    """Let methods do what they do before training; return whether one has. A task that has trained goes on from where it is."""
    updated = task_has_trained(run.task) or run.first
    starting = [m for m in run.task.methods if "before_training" in m.hooks and not (updated and m.takes_updates)]
    for method in starting:
        weights = row_weights(run.data, run.class_weights)
        run.tell(method.before_training(run.task, run.data, weights, lambda: vectors_of(run)))
    return bool(starting)


def vectors_of(run: Run) -> np.ndarray:
    """(B, D): what the head sees of the training examples."""
    task = run.task
    states = stored_states(task, run.cache, (run.data, run.validation), run.last - run.first, run.say)
    if states is None:
        return task.encode(run.data)
    data = replace(run.data, numbered=True)
    batches, inverse = task.ordered_batches(data, task.inference_batch_size)
    return task.encode_batches(states.batches(batches, data), inverse)


def look_once(run: Run) -> keras.callbacks.History:
    """Return the figures of a task that takes no updates, as those of one epoch."""
    task = run.task
    logs = task.evaluate(run.data, verbose=0, return_dict=True)
    if run.validation is not None:
        found = task.evaluate(run.validation, verbose=0, return_dict=True, steps=run.validation_steps)
        logs |= {f"val_{name}": value for name, value in found.items()}
    callbacks = keras.callbacks.CallbackList(
        as_list(run.callbacks), add_history=True, model=task, epochs=1, steps=0
    )  # fmt: skip
    callbacks.on_train_begin()
    callbacks.on_epoch_begin(0)
    callbacks.on_epoch_end(0, logs)
    callbacks.on_train_end(logs)
    return task.history


# Keras trains.


def train(run: Run, keras_fit: Callable, options: Mapping[str, Any]) -> keras.callbacks.History:
    """Hand the batches to `keras.Model.fit`, stage by stage where a method has stages, anew where a run has collapsed."""
    task = run.task
    steps = run.steps_per_epoch if run.steps_per_epoch is not None else batches_of_epoch(run)
    updates = None if steps is None else steps * (run.last - run.first)
    bind_schedule(task.optimizer, steps, run.last, run.first)

    def train_epochs(first: int, last: int, callbacks: Any) -> keras.callbacks.History:
        return train_some_epochs(run, first, last, callbacks, keras_fit, options)

    def guarded(stop: bool) -> tuple[list, list]:
        noticing = collapse_monitors(task, run.data, updates, run.class_weights, stop=stop)
        guards = [*noticing, StopOnNonFinite(weights=task.trainable_variables)]
        return [EpochNumber(run.epoch), *as_list(run.callbacks), *guards], noticing

    if run.stages:
        callbacks, _ = guarded(stop=False)
        store_for_stages(task, run.cache, (run.data, run.validation), run.stages, run.say)
        return run_stages(
            task, run.stages, train_epochs, callbacks, verbose=run.verbose, steps=steps, say=run.say
        )  # fmt: skip
    weights = weights_for_a_restart(run)
    for left in range(0 if weights is None else RESTARTS, -1, -1):
        callbacks, noticing = guarded(stop=left > 0)
        history = train_epochs(run.first, run.last, callbacks)
        if not left or not any(callback.collapsed for callback in noticing):
            break
        restart(task, weights)
        bind_schedule(task.optimizer, steps, run.last, run.first)
    return history


def weights_for_a_restart(run: Run) -> list[tuple[Any, np.ndarray]] | None:
    """Return the weights that train as they are now; None where a collapsed run is not to begin again: its rate was asked for."""
    task = run.task
    schedule = getattr(inner_optimizer(task.optimizer), "_learning_rate", None)
    if not run.by_recipe or not isinstance(schedule, Schedule) or run.first or task_has_trained(task):
        return None
    return [(weight, keras.ops.convert_to_numpy(weight)) for weight in task.trainable_variables]


def train_some_epochs(
    run: Run, first: int, last: int, callbacks: Any, keras_fit: Callable, options: Mapping[str, Any]
) -> keras.callbacks.History:
    """Train from one epoch to another with what trains now."""
    task = run.task
    states = stored_states(task, run.cache, (run.data, run.validation), last - first, run.say)
    # Variables made while the step is traced would have Keras trace all of it again. A task whose layers are built by its
    # first call has none yet.
    if task.built and not task.optimizer.built:
        with task.distribute_strategy.scope():
            task.optimizer.build(task.trainable_variables)
    with same_size_in_each_epoch():
        return keras_fit(
            weighted(batches_for_training(run, states), run.class_weights),
            epochs=last,
            verbose=run.verbose,
            callbacks=callbacks,
            validation_data=batches_for_validation(run, states),
            validation_steps=run.validation_steps,
            shuffle=False,
            initial_epoch=first,
            steps_per_epoch=run.steps_per_epoch,
            **{"validation_freq": run.validation_epochs, **options},
        )


def batches_for_training(run: Run, states: StoredStates | None) -> tf.data.Dataset:
    """Return batches as the network is given them: with a teacher's outputs, packed, or what frozen layers made of them."""
    task, step = run.task, run.task.loss_step
    if not isinstance(run.data, Examples):
        batches = run.data
    else:
        data = replace(run.data, numbered=states is not None or step is not None)
        changes = () if run.augmentation is None else (run.augmentation,)
        batches = task.training_batches(data, run.batch_size, run.shuffle, run.epoch, *changes)
    if states is not None:
        return states.batches(batches, run.data)
    if step is not None:
        return step.batches(batches, run.data)
    if not run.packing:
        return batches
    replicas = task.distribute_strategy.num_replicas_in_sync
    return packed_batches(batches, task.sequence_length, task.tokenizer.pad_id, replicas)


def batches_for_validation(run: Run, states: StoredStates | None) -> tf.data.Dataset | None:
    """Return batches of the validation data, as the network is given them."""
    if not isinstance(run.validation, Examples):
        return run.validation
    data = replace(run.validation, numbered=states is not None)
    batches = run.task.ordered_batches(data, run.batch_size)[0]
    return batches if states is None else states.batches(batches, data)
