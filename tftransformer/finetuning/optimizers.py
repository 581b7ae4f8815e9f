"""AdamW and SGD for fine-tuning, with the rate, the decay and the clipping that BERT-like models want.

AdamW follows Loshchilov & Hutter 2017 (arXiv:1711.05101); the numbers are those of Devlin et al. 2018
(arXiv:1810.04805, A.3). For TensorFlow.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from tftransformer.errors import TransformerError
from tftransformer.finetuning.reduced_gradients import ReducedGradients, matching, when
from tftransformer.finetuning.schedules import SCHEDULES, build_schedule, check_number

# Weights that start from random numbers need a rate far above that of pretrained ones, but not a multiple of
# it: where the encoder trains at 1e-4, a head at 25 times that throws it back to chance.
FRESH_RATE = 5e-4

# Adam on a large embedding table, at the price of the rows that training has reached so far. A run reads a few thousand of
# thirty thousand rows. A row that no gradient has reached has moments of zero, and Adam moves it by exactly nothing; only
# its weight decay is left. So the moments of all other rows need not be read or written, and the result is the dense one.
# (Updating the rows of the current batch alone, as "lazy" Adam does, is another algorithm: the moments of the others go on
# moving their weights.)

# Below this many rows a table's dense update costs next to nothing.
LARGE_TABLE = 4096
# Where more than one row in so many is touched, gathering and scattering cost what the dense update does.
_DENSE_ROWS = 3


@keras.saving.register_keras_serializable(package="tftransformer")
class AdamW(ReducedGradients, keras.optimizers.AdamW):
    """Adam with decoupled weight decay, a rate per weight, and clipping after the reduction over replicas.

    Args:
        learning_rate: A float, a `Schedule` or a Keras schedule. 2e-5 is in the middle of what BERT is
            fine-tuned with.
        weight_decay: See `ReducedGradients`. It acts at each weight's own rate, multiplier included.
        beta_1: Decay of the first moment.
        beta_2: Decay of the second moment.
        epsilon: Added to the root of the second moment. BERT's 1e-6 rather than Adam's 1e-8: it holds still
            the weights whose gradient is rounding noise, such as key biases.
        global_clipnorm: See `ReducedGradients`.
        sparse_updates: Whether to skip the rows of large embedding tables that no gradient has had yet, which is the
            same update at a part of its price. Not for steps that XLA compiles (their shapes are fixed), several
            replicas or accumulation; there it does nothing. Tasks turn it on where it can be.
        name: Name of the optimizer.
        others: `gradient_accumulation_steps`, `carry_accumulation`, `rate_multipliers`, `no_decay`,
            `average` and `loss_scale_factor`; see `ReducedGradients`.

    Raises:
        TransformerError: A number out of its range; when built, a pattern that matches no trained weight.

    Example:
        >>> optimizer = AdamW(2e-5, rate_multipliers={"head/.*": 25.0})
        >>> optimizer.global_clipnorm
        1.0
    """

    def __init__(
        self,
        learning_rate: Any = 2e-5,
        weight_decay: float | None = 0.01,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-6,
        global_clipnorm: float | None = 1.0,
        sparse_updates: bool = False,
        name: str = "adamw",
        **others: Any,
    ):
        update = {"beta_1": beta_1, "beta_2": beta_2, "epsilon": epsilon}
        super().__init__(learning_rate, weight_decay, global_clipnorm, name, update, **others)
        self.sparse_updates = sparse_updates

    def build(self, variables: Sequence[keras.Variable]) -> None:
        if self.built:
            return
        super().build(variables)
        # Also kept where it is not used: what a checkpoint holds does not depend on where it was written.
        self._touched = {
            place: self.add_variable((variable.shape[0],), "zeros", "bool", name=f"sparse_updates_{place}")
            for place, variable in enumerate(variables)
            if len(variable.shape) == 2 and variable.shape[0] >= LARGE_TABLE and variable.dtype == "float32"
        }

    def _prepared(self, grad: Any, variable: Any, place: int) -> Any:
        by_rows = (
            self.sparse_updates
            and place in self._touched
            and isinstance(grad, tf.IndexedSlices)
            and not self.gradient_accumulation_steps
            and tf.distribute.get_strategy().num_replicas_in_sync == 1
        )
        return _unique_rows(grad) if by_rows else super()._prepared(grad, variable, place)

    def _step_constants(self, places: Sequence[int]) -> list[tuple[tf.Tensor, ...]]:
        steps = {first: self.own_updates(first) for first in {self._together[place] for place in places}}
        powers = {first: (tf.pow(self.beta_1, step), tf.pow(self.beta_2, step)) for first, step in steps.items()}
        return [powers[self._together[place]] for place in places]

    def slots(self, place: int) -> tuple[keras.Variable, ...]:
        moments = self._momentums[place], self._velocities[place]
        return (*moments, self._touched[place]) if place in self._touched else moments

    def _update_weight(self, variable: Any, grad: Any, rate: Any, keep: Any, *state: Any) -> None:
        beta_1_power, beta_2_power, momentum, velocity, *touched = state
        powers = tf.cast(beta_1_power, grad.dtype), tf.cast(beta_2_power, grad.dtype)
        if isinstance(grad, tf.IndexedSlices):
            self._update_table(variable, grad, rate, keep, powers, (momentum, velocity), *touched)
            return
        for flags in touched:
            # A dense gradient may reach every row; which ones it left at zero is not worth finding out.
            flags.assign(tf.ones_like(flags))
        if variable.dtype != grad.dtype:
            self._update_half(variable, grad, rate, keep, powers, (momentum, velocity))
            return
        if keep is not None:
            variable.assign(variable * keep)
        # One kernel for both moments and the weight: written out, the step reads and writes each of them
        # several times, which is a visible part of a training step on the token table.
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=momentum.handle,
            v=velocity.handle,
            beta1_power=powers[0],
            beta2_power=powers[1],
            lr=rate,
            beta1=tf.cast(self.beta_1, grad.dtype),
            beta2=tf.cast(self.beta_2, grad.dtype),
            epsilon=tf.cast(self.epsilon, grad.dtype),
            grad=grad,
        )

    def _update_table(
        self, variable: Any, grad: tf.IndexedSlices, rate: Any, keep: Any, powers: tuple, moments: tuple, touched: Any
    ) -> None:
        """The same for a (V, D) table, at the price of the rows touched so far; the gradient has each row once."""
        touched.scatter_update(tf.IndexedSlices(tf.ones_like(grad.indices, tf.bool), grad.indices))
        flags = tf.convert_to_tensor(touched)
        rows = tf.where(flags)[:, 0]

        def step_on_rows() -> None:
            corrected = rate * tf.sqrt(1.0 - powers[1]) / (1.0 - powers[0])
            # 1 - beta in float32, as TensorFlow's own kernel has it: for .999 that is 5e-5 off the exact number, and
            # the bias correction is off alike.
            numbers = (corrected, self.epsilon, self.beta_1, self.beta_2)
            step, epsilon, beta_1, beta_2 = (tf.cast(number, grad.dtype) for number in numbers)
            if keep is not None:
                variable.assign(variable * keep)
            place = tf.gather(tf.cumsum(tf.cast(flags, tf.int32)) - 1, grad.indices)
            g = tf.math.unsorted_segment_sum(grad.values, place, tf.size(rows))
            momentum, velocity = (tf.gather(moment, rows) for moment in moments)
            momentum += (g - momentum) * (1.0 - beta_1)
            velocity += (g * g - velocity) * (1.0 - beta_2)
            weights = tf.gather(variable, rows) - step * momentum / (tf.sqrt(velocity) + epsilon)
            for target, values in zip((variable, *moments), (weights, momentum, velocity)):
                target.scatter_update(tf.IndexedSlices(values, rows))

        def step_on_all() -> None:
            self._update_weight(variable, tf.convert_to_tensor(grad), rate, keep, *powers, *moments)

        when(tf.size(rows) * _DENSE_ROWS < variable.shape[0], step_on_rows, step_on_all)

    def _update_half(self, variable: Any, grad: Any, rate: Any, keep: Any, powers: tuple, moments: tuple) -> None:
        """The same for a weight in half precision: the arithmetic in float32, the weight rounded once."""
        momentum, velocity = moments
        momentum.assign_add((grad - momentum) * (1.0 - self.beta_1))
        velocity.assign_add((grad * grad - velocity) * (1.0 - self.beta_2))
        rate = rate * tf.sqrt(1.0 - powers[1]) / (1.0 - powers[0])
        weight = tf.cast(variable, grad.dtype) * (1.0 if keep is None else keep)
        weight -= rate * momentum / (tf.sqrt(velocity) + self.epsilon)
        variable.assign(tf.cast(weight, variable.dtype))

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        del config["amsgrad"]
        return {**config, "sparse_updates": self.sparse_updates}


@keras.saving.register_keras_serializable(package="tftransformer")
class SGD(ReducedGradients, keras.optimizers.SGD):
    """Gradient descent, with the same reduction, accumulation, clipping, decay and rates as `AdamW`.

    Args:
        learning_rate: A float, a `Schedule` or a Keras schedule.
        momentum: Momentum (0 to 1).
        nesterov: Whether to use Nesterov's form of the momentum.
        weight_decay, global_clipnorm, name, others: As for `AdamW`.

    Raises:
        TransformerError: A number out of its range; when built, a pattern that matches no trained weight.

    Example:
        >>> float(SGD(0.5).learning_rate)
        0.5
    """

    def __init__(
        self,
        learning_rate: Any = 0.01,
        momentum: float = 0.0,
        nesterov: bool = False,
        weight_decay: float | None = None,
        global_clipnorm: float | None = None,
        name: str = "sgd",
        **others: Any,
    ):
        momentum = check_number("momentum", momentum, "between 0 and 1", lambda value: 0 <= value <= 1)
        update = {"momentum": momentum, "nesterov": nesterov}
        super().__init__(learning_rate, weight_decay, global_clipnorm, name, update, **others)

    def slots(self, place: int) -> tuple[keras.Variable, ...]:
        return tuple(self.momentums[place : place + 1])


def build_optimizer(
    learning_rate: float = 2e-5,
    *,
    schedule: str = "linear",
    warmup: int | float | None = None,
    total_steps: int | None = None,
    fresh: Sequence[str] | str = ("head/.*",),
    fresh_multiplier: float | None = None,
    rate_multipliers: Mapping[str, float] | None = None,
    **options: Any,
) -> AdamW:
    """The optimizer that fine-tunes a classifier unless told otherwise.

    Args:
        learning_rate: The highest rate of pretrained weights.
        schedule: A name for `build_schedule`.
        warmup: Updates (int) or a fraction of the run (float); None for the schedule's default.
        total_steps: The length in updates; None leaves it to `fit`.
        fresh: Patterns of the weights that start from random numbers, such as a head or the user's own blocks.
        fresh_multiplier: Factor on their learning rate. None: what makes it 5e-4 (25 at the default
            rate), with which blocks are trained from scratch and without which a head would still be near its
            start when the few hundred updates of a small data set are over; 1 if `learning_rate` is higher.
        rate_multipliers: Further factors, such as those of `LayerwiseRates`; a fresh weight that one of them
            matches trains at both together.
        options: Further arguments of `AdamW`, such as `weight_decay` or `gradient_accumulation_steps`.

    Returns:
        An `AdamW`.

    Raises:
        TransformerError: An unknown schedule, or a number out of its range.

    Example:
        >>> print(f"{float(build_optimizer(3e-5, schedule='constant').learning_rate):.0e}")
        3e-05
    """
    if callable(learning_rate) or isinstance(learning_rate, str) and learning_rate in SCHEDULES:
        given = learning_rate if isinstance(learning_rate, str) else type(learning_rate).__name__
        raise TransformerError(
            f"learning_rate must be the highest rate, a number; got {given!r}: name a schedule beside it "
            '(schedule="cosine", warmup=0.1), or give an optimizer that has one, such as '
            "AdamW(learning_rate=CosineSchedule(1e-4))"
        )
    learning_rate = check_number("learning_rate", learning_rate, "positive", lambda value: value > 0)
    if fresh_multiplier is None:
        fresh_multiplier = max(1.0, FRESH_RATE / learning_rate)
    fresh = (fresh,) if isinstance(fresh, str) else fresh
    others = dict(rate_multipliers or {})
    # The first pattern that matches counts, and so fresh weights come first.
    multipliers = {
        name: fresh_multiplier
        * next((factor for p, factor in others.items() if matching(p, [name], "rate_multipliers")), 1.0)
        for name in fresh
    }
    multipliers.update((pattern, factor) for pattern, factor in others.items() if pattern not in multipliers)
    rate = build_schedule(schedule, learning_rate, total_steps, warmup)
    return AdamW(rate, rate_multipliers=multipliers, **options)


def set_optimizer(model: keras.Model, optimizer: Any) -> None:
    """Give a compiled model another optimizer."""
    # As Keras's `compile` does, past what would have TensorFlow save it as a part of the model; `compile` itself would
    # begin metrics and functions anew.
    object.__setattr__(model, "optimizer", optimizer)


def inner_optimizer(optimizer: Any) -> Any:
    """The optimizer itself, or the one inside Keras's `LossScaleOptimizer` (float16).

    Example:
        >>> inner_optimizer(keras.optimizers.LossScaleOptimizer(SGD(0.1))).name
        'sgd'
    """
    return getattr(optimizer, "inner_optimizer", optimizer)


def highest_rate(optimizer: Any) -> float | None:
    """The highest rate of an optimizer; None where it has none, or one that only its schedule knows.

    Example:
        >>> highest_rate(build_optimizer(3e-5)), round(highest_rate(keras.optimizers.SGD(0.5)), 2)
        (3e-05, 0.5)
    """
    rate = getattr(inner_optimizer(optimizer), "_learning_rate", None)
    if isinstance(rate, keras.optimizers.schedules.LearningRateSchedule):
        return getattr(rate, "peak", None)
    # Kept as float32: six digits are what was given.
    return None if rate is None else float(f"{float(keras.ops.convert_to_numpy(rate)):.6g}")


def with_rate(optimizer: Any, rate: Any, **settings: Any) -> Any:
    """An optimizer with the same settings, no state, and another rate.

    Args:
        optimizer: One with a `learning_rate`; or Keras's `LossScaleOptimizer` around one.
        rate: A number or a schedule.
        settings: Further settings that are others.

    Raises:
        TransformerError: The optimizer has no rate of its own.

    Example:
        >>> with_rate(build_optimizer(3e-5, weight_decay=0.2), 1e-3).weight_decay
        0.2
    """
    inner = inner_optimizer(optimizer)
    if "learning_rate" not in inner.get_config():
        raise TransformerError(
            f"model must be compiled with an optimizer that has one learning_rate; got {type(inner).__name__}"
        )
    copy = type(inner).from_config({**inner.get_config(), "learning_rate": rate, **settings})
    return copy if inner is optimizer else keras.optimizers.LossScaleOptimizer(copy)


def _unique_rows(grad: tf.IndexedSlices) -> tf.IndexedSlices:
    """The same gradient with each row once: the sum of its parts."""
    rows, place = tf.unique(grad.indices)
    values = tf.math.unsorted_segment_sum(grad.values, place, tf.size(rows))
    return tf.IndexedSlices(values, rows, grad.dense_shape)
