"""Keep Keras's traced functions in step with a model that is changed after they were traced.

Keras keeps a graph for each of `fit`, `evaluate` and `predict` until the next `compile`. A graph holds the weights and
the settings of the day it was traced: what is put in, taken out, switched or frozen later would not be in it. A task
asks `TracedForms` before each of these; a plain Keras model is told by whoever changes it, through `model_changed`.
"""

from typing import Any

import keras

from tftransformer.finetuning.optimizers import inner_optimizer
from tftransformer.models.task import Task

_FUNCTIONS = ("train_function", "test_function", "predict_function")
# Plain attributes of layers that a trace reads once.
_SETTINGS = ("trainable", "active", "merged", "rate", "scale")


class TracedForm:
    """Everything that a trace of a model fixes: layers and weights, which of them train, and settings that calls read.

    Two forms are equal if a trace of one can be used for the other.

    Args:
        model: A built model.
        settings: Settings of the model itself.

    Example:
        >>> import keras
        >>> model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, name="head")])
        >>> before = TracedForm(model)
        >>> model.get_layer("head").trainable = False
        >>> before == TracedForm(model)
        False
    """

    def __init__(self, model: keras.Model, settings: tuple = ()) -> None:
        # Held, not only counted: the id of what is gone would be given to something new.
        self._layers = list(model._flatten_layers())
        self._weights = list(model.weights)
        self._key = (
            settings,
            [(id(layer), *_settings(layer)) for layer in self._layers],
            [(id(weight), weight.trainable) for weight in self._weights],
        )

    def __eq__(self, other: Any) -> bool:
        return isinstance(other, TracedForm) and self._key == other._key

    __hash__ = None


def _settings(layer: Any) -> list[Any]:
    values = (getattr(layer, name, None) for name in _SETTINGS)
    # Of other layers an attribute of that name may be a weight, which has its own place in the key.
    return [value if isinstance(value, (bool, int, float, str)) else None for value in values]


class TracedForms:
    """The form that a model had when each of its functions was traced."""

    def __init__(self) -> None:
        self._forms: dict[str, TracedForm] = {}

    def outdated(self, function: str, form: TracedForm) -> bool:
        """Return whether a function was traced for another form; from now on it counts as traced for this one."""
        before, self._forms[function] = self._forms.get(function), form
        return before is not None and before != form


def model_changed(model: keras.layers.Layer) -> bool:
    """Have Keras trace a model anew, after its structure, its settings or what of it trains was changed.

    Args:
        model: Any Keras model or layer.

    Returns:
        Whether it has to be compiled again before it trains: its optimizer was built for other weights. Keras would go
        on training those and say nothing, so that a plain model counts as not compiled from then on; a task refuses
        by itself.

    Example:
        >>> model_changed(classifier)  # doctest: +SKIP
        False
    """
    for name in _FUNCTIONS:
        if hasattr(model, name):
            setattr(model, name, None)
    if not getattr(model, "compiled", False) or is_for(model.optimizer, model.trainable_variables):
        return False
    if not isinstance(model, Task):
        model.compiled = False
    return True


def is_for(optimizer: Any, variables: list) -> bool:
    """Return whether an optimizer is not built yet, or was built for exactly these variables."""
    if optimizer is None or not optimizer.built:
        return True
    known = getattr(inner_optimizer(optimizer), "_trainable_variables", ())
    return {id(variable) for variable in known} == {id(variable) for variable in variables}
