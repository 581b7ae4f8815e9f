"""Whatever was saved in a folder, as the class that saved it: preset.json says which."""

import os
from typing import Any

import keras

from tftransformer import tasks
from tftransformer.checkpoints.preset import REGRESSION, TAGGING, UNSTATED, Preset
from tftransformer.checkpoints.presets import load_preset
from tftransformer.errors import TransformerError
from tftransformer.models.families import FAMILIES
from tftransformer.tasks.task import Task

_OURS = "tftransformer"


def load(preset: str | os.PathLike[str] | Preset, **options: Any) -> Any:
    """Load what `save_to_preset` wrote, as the class that wrote it, with its weights, labels and settings.

    A folder of another project with a classification head is a `TextClassifier`, one with the head of a regression a
    `TextRegressor`, one with a head over tokens a `TokenClassifier`.

    Args:
        preset: A folder of `save_to_preset` or of a run, or anything else that `checkpoints.load_preset` takes.
        options: As for the class's `from_preset`, such as `dtype`.

    Returns:
        A `TextClassifier`, `TextRegressor`, another of `tasks.TASKS`, or a registered class of the user's own. In
        the dtype that it was saved in, it predicts the same, bit by bit.

    Raises:
        TransformerError: As `load_preset`; it holds an encoder without a task, does not say which class was saved, or
            names one that this process does not know.

    Example:
        >>> classifier.save_to_preset("models/tickets")
        >>> type(tt.load("models/tickets")).__name__
        'TextClassifier'
    """
    found = preset if isinstance(preset, Preset) else load_preset(preset)
    kind = saved_class(found)
    if kind is None:
        raise TransformerError(
            f"{found.name} holds an encoder without a task: give it one, such as "
            f"TextClassifier.from_preset({found.name!r}, labels=[...])"
        )
    return kind.from_preset(found, **options)


def saved_class(preset: Preset) -> type[Task] | None:
    """The class of the task that a preset was saved from, or whose network it holds whole; None for an encoder alone.

    Args:
        preset: As `load_preset` gives it.

    Raises:
        TransformerError: It does not say, or names a class that this process does not know.

    Example:
        >>> saved_class(load_preset("bert_12x192_en_uncased")) is None
        True
    """
    name = preset.class_name
    if name == UNSTATED:
        raise TransformerError(
            f"{preset.name} does not say which class was saved there, as folders from before that was recorded: load "
            f"it with that class, such as TextClassifier.from_preset({preset.name!r})"
        )
    if name is None:
        # What writes texts is complete as it is; a head with labels is what other projects call a classifier.
        writers = {"decoder": tasks.CausalLM, "encoder_decoder": tasks.Seq2Seq}
        task = writers.get(FAMILIES[preset.config.family].architecture)
        kinds = {REGRESSION: tasks.TextRegressor, TAGGING: tasks.TokenClassifier}
        task = task or kinds.get(preset.head.get("kind", ""))
        return task if task is not None or preset.labels is None else tasks.TextClassifier
    package, _, short = name.partition(">")
    if package == _OURS and short in tasks.TASKS:
        found = getattr(tasks, short)  # which loads the module that registers it
    else:
        found = keras.saving.get_registered_object(name)
    if found is None:
        raise TransformerError(
            f"{preset.name} was saved from the class {name!r}, which this process does not know: import the module "
            "that defines it, decorated with keras.saving.register_keras_serializable"
        )
    if not isinstance(found, type) or not issubclass(found, Task):
        raise TransformerError(f"class in preset.json of {preset.name} must be a task's; got {name!r}")
    return found
