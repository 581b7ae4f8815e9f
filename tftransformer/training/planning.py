"""Plan of a task's `fit` before it trains: the recipe where none is given, and the validation."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from tftransformer.data.examples import Examples
from tftransformer.finetuning.methods.probe import can_start
from tftransformer.finetuning.optimizers import highest_rate
from tftransformer.finetuning.recipe import Recipe, choose_recipe
from tftransformer.patterns import addresses

if TYPE_CHECKING:
    from tftransformer.models.task import Task


def recipe_for(task: "Task", rows: int, **given: Any) -> Recipe:
    """Choose the recipe for a task and so many training rows an epoch.

    Args:
        task: Built task.
        rows: Training rows an epoch, changed copies included.
        given: Arguments of `choose_recipe`.
    """
    vectors = {"pairs": bool(task.text_pairs), "contrasts": not task.in_chunks}
    objective = task.objective
    settings = {**vectors, "least_updates": objective.least_updates, **given}
    recipe = choose_recipe(rows, task.config.hidden_dim, len(objective.labels), task.recommended_hparams, **settings)
    if given.get("strategy", "full") != "full" or all(weight.trainable for weight in addresses(task).values()):
        return recipe
    # What trains was chosen before, by whatever method.
    return replace(recipe, strategy="as applied" if recipe.start is None else f"{recipe.start}, as applied")


def recipe_as_compiled(
    task: "Task", rows: int, batch_size: int, *, solvable: bool, passed: Sequence[str] = ()
) -> Recipe:
    """Choose the recipe for a compiled task, which leaves what was compiled and passed as it is.

    Args:
        task: Compiled task.
        rows: Training rows an epoch, changed copies included.
        batch_size: Rows a batch.
        solvable: Whether the rows are there for a head to be solved for.
        passed: Names of arguments of `fit` that say how updates are made.
    """
    recipe = recipe_for(
        task,
        rows,
        batch_size=batch_size,
        fresh_head=solvable and not task_has_trained(task) and can_start(task),
        kept=(*task.compiled_with, *passed),
    )
    return replace(recipe, learning_rate=highest_rate(task.optimizer))


def monitors_validation(callback: Any) -> bool:
    """Return whether a callback compares epochs by a figure of the validation data, and so needs it of each epoch."""
    if isinstance(callback, keras.callbacks.CallbackList):
        return any(map(monitors_validation, callback.callbacks))
    # Without save_best_only the figure decides nothing.
    compares = not isinstance(callback, keras.callbacks.ModelCheckpoint) or callback.save_best_only
    return compares and str(getattr(callback, "monitor", "")).startswith("val_")


def sample(examples: Examples, rows: int, seed: int = 0) -> Examples:
    """So many of the examples, in their order; always the same ones for a seed."""
    if rows >= len(examples):
        return examples
    return examples.take(np.sort(np.random.default_rng(seed).permutation(len(examples))[:rows]))


def task_has_trained(task: "Task") -> bool:
    """Return whether its optimizer has made an update."""
    return task.optimizer is not None and int(keras.ops.convert_to_numpy(task.optimizer.iterations)) > 0
