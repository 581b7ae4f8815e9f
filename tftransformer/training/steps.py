"""One optimizer step, compiled, on TensorFlow or JAX, for losses written with Keras's operations alone."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np

from tftransformer.errors import TransformerError

Batch = Mapping[str, Any]
Loss = Callable[[Batch, Any], Mapping[str, Any]]


class Steps:
    """Compiled training and evaluation steps.

    Args:
        targets: From a batch to what the loss compares with; not differentiated.
        loss: From a batch and its targets to a dict with `loss` and its terms, all scalars.
        trained: Variables that the optimizer moves.
        fixed: All other variables that `targets` and `loss` read.
        optimizer: Built for `trained`.

    Raises:
        TransformerError: Keras runs on a backend without steps here.
    """

    def __init__(
        self,
        targets: Callable[[Batch], Any],
        loss: Loss,
        trained: Sequence[Any],
        fixed: Sequence[Any],
        optimizer: Any,
    ) -> None:
        builders = {"tensorflow": _tensorflow_steps, "jax": _jax_steps}
        backend = keras.backend.backend()
        if backend not in builders:
            raise TransformerError(
                f"pretraining runs on Keras's backends {' and '.join(builders)}; KERAS_BACKEND is {backend!r}"
            )
        self._train, self._evaluate = builders[backend](targets, loss, list(trained), list(fixed), optimizer)

    def train(self, batch: Mapping[str, np.ndarray]) -> dict[str, float]:
        """Make a step; returns the loss and its terms before it."""
        return {name: float(value) for name, value in self._train(dict(batch)).items()}

    def evaluate(self, batch: Mapping[str, np.ndarray]) -> dict[str, float]:
        """The loss and its terms."""
        return {name: float(value) for name, value in self._evaluate(dict(batch)).items()}


def _tensorflow_steps(targets: Any, loss: Any, trained: list, fixed: list, optimizer: Any) -> tuple:
    import tensorflow as tf

    values = [variable.value for variable in trained]

    def train(batch: dict[str, Any]) -> dict[str, Any]:
        wanted = targets(batch)
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(values)
            terms = loss(batch, wanted)
        gradients = tape.gradient(terms["loss"], values)
        used = [(g, v) for g, v in zip(gradients, trained, strict=True) if g is not None]
        optimizer.apply([g for g, _ in used], [v for _, v in used])
        return terms

    def evaluate(batch: dict[str, Any]) -> dict[str, Any]:
        return loss(batch, targets(batch))

    compiled: dict[Any, Any] = {}

    def run(function: Any, batch: dict[str, np.ndarray]) -> dict[str, Any]:
        # One graph for all lengths: only ranks and dtypes are fixed.
        if function not in compiled:
            specs = {name: tf.TensorSpec([None] * array.ndim, array.dtype) for name, array in batch.items()}
            compiled[function] = tf.function(function, input_signature=[specs])
        return compiled[function]({name: tf.convert_to_tensor(array) for name, array in batch.items()})

    return lambda batch: run(train, batch), lambda batch: run(evaluate, batch)


def _jax_steps(targets: Any, loss: Any, trained: list, fixed: list, optimizer: Any) -> tuple:
    import jax

    slots = optimizer.variables

    def scope(trained_values: list, fixed_values: list) -> Any:
        pairs = [*zip(trained, trained_values, strict=True), *zip(fixed, fixed_values, strict=True)]
        return keras.StatelessScope(state_mapping=pairs)

    def objective(trained_values: list, fixed_values: list, batch: dict, wanted: Any) -> tuple:
        with scope(trained_values, fixed_values):
            terms = loss(batch, wanted)
        return terms["loss"], terms

    @jax.jit
    def train(trained_values: list, fixed_values: list, slot_values: list, batch: dict) -> tuple:
        with scope(trained_values, fixed_values):
            wanted = targets(batch)
        gradient = jax.value_and_grad(objective, has_aux=True)
        (_, terms), gradients = gradient(trained_values, fixed_values, batch, wanted)
        moved, slot_values = optimizer.stateless_apply(slot_values, gradients, trained_values)
        return terms, moved, slot_values

    @jax.jit
    def evaluate(trained_values: list, fixed_values: list, batch: dict) -> dict:
        with scope(trained_values, fixed_values):
            return loss(batch, targets(batch))

    def values(variables: list) -> list:
        return [variable.value for variable in variables]

    def run_train(batch: dict) -> dict:
        terms, moved, slot_values = train(values(trained), values(fixed), values(slots), batch)
        for variable, value in (*zip(trained, moved, strict=True), *zip(slots, slot_values, strict=True)):
            variable.assign(value)
        return terms

    return run_train, lambda batch: evaluate(values(trained), values(fixed), batch)
