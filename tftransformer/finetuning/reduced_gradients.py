"""Steps of an optimizer on gradients before its own update: reduce over replicas, accumulate, clip.

Keras clips every replica's gradient before they are summed, so that a step on two replicas differs from the
same step on one, and accumulates inside a condition in which replicas cannot synchronise. Here the order is
reduce, accumulate, clip, then update (or not).
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from tftransformer.errors import TransformerError, check_whole, near_miss
from tftransformer.finetuning.schedules import Schedule, check_number, check_total_steps
from tftransformer.finetuning.weight_averages import WeightAverages

# Biases, and the scales and offsets of norms: pulling them to zero regularises nothing. So do factors that start as 1: IA3's scales, DoRA's magnitudes.
NO_DECAY = (r".*(bias|gamma|beta|scale|magnitude)",)

_NOT_NEGATIVE = ("at least 0", lambda value: value >= 0)
_POSITIVE = ("positive", lambda value: value > 0)
_FRACTION = ("above 0 and at most 1", lambda value: 0 < value <= 1)


def matching(pattern: str, paths: Sequence[str], argument: str) -> set[int]:
    """The places of those paths of which a pattern matches a tail from end to end.

    Raises:
        TransformerError: The pattern is malformed.

    Example:
        >>> matching("head/.*", ["task/encoder/kernel", "task/head/kernel"], "patterns")
        {1}
    """
    try:
        expression = re.compile(pattern)
    except re.error as error:
        raise TransformerError(f"{argument}: {pattern!r} is not a regular expression: {error}") from None
    return {i for i, path in enumerate(paths) if any(expression.fullmatch(tail) for tail in _tails(path))}


def _tails(path: str) -> list[str]:
    parts = path.split("/")
    return ["/".join(parts[start:]) for start in range(len(parts))]


def _check_pattern(pattern: str, paths: Sequence[str], argument: str) -> None:
    """Raise a `TransformerError` unless a pattern matches one of the paths."""
    if not matching(pattern, paths, argument):
        raise TransformerError(
            f"{argument}: {pattern!r} matches none of the {len(paths)} trained weights{near_miss(pattern, paths)}"
        )


class ReducedGradients:
    """Mixed into a Keras optimizer: global clipping, accumulation, a rate and a decay mask per weight.

    - The global norm is taken of the reduced and accumulated gradient, so an update on several replicas
      equals the one on a single device.
    - An update whose gradient is not finite changes no weight and no slot; `first_bad_step` then holds its
      number, counted from 1.
    - Weights are told apart by their address, matched from end to end by regular expressions. An optimizer
      sees only paths (`name_of_a_task/head/logits/kernel`), so every tail of the path that starts at a layer
      counts as an address.
    - Schedules count updates, not accumulated batches. Every weight counts its own from when it joined
      (`unfreeze_steps`), so that one which starts to train late starts as in a new optimizer.

    Args:
        learning_rate: A float, a `Schedule`, or a Keras schedule.
        weight_decay: Decoupled decay (Loshchilov & Hutter 2017, arXiv:1711.05101): an update multiplies a
            decayed weight by `1 - rate * weight_decay` first. None or 0 is none.
        global_clipnorm: Largest global norm of the gradient; None for no clipping.
        gradient_accumulation_steps: Number of batches whose mean gradient makes one update. Equal to one
            batch of all their rows if they have equal sizes. None or 1 for no accumulation. Where it does not divide
            an epoch, the last update is the mean of the batches that are left, and every `fit` starts with none: of
            tasks, and with `BindSchedule`, which call `start_run`.
        carry_accumulation: Whether to carry what is left at the end of an epoch into the next one; only the last update
            of a run is then of fewer batches.
        rate_multipliers: Mapping from a pattern to a factor on the rate. The first pattern that matches a weight
            counts.
        no_decay: Patterns of weights without decay; biases and norms by default.
        average: Fraction of the updates over which weights are averaged (see `WeightAverages`); None for no average.
            Models have it while they are validated and after `fit`, if `fit` is a task's or has `BindSchedule`;
            otherwise after `fit`.
        loss_scale_factor: Fixed loss scale. Keras wraps the optimizer in its own dynamic one where the dtype policy
            is "mixed_float16".
        name: Name of the optimizer.
        update: Arguments of the Keras optimizer about its own update, such as `beta_1`.

    Raises:
        TransformerError: A number out of its range; or, when the optimizer is built, a pattern that matches
            no trained weight.
    """

    def __init__(
        self,
        learning_rate: Any,
        weight_decay: float | None,
        global_clipnorm: float | None,
        name: str,
        update: Mapping[str, Any],
        *,
        gradient_accumulation_steps: int | None = None,
        carry_accumulation: bool = False,
        rate_multipliers: Mapping[str, float] | None = None,
        no_decay: Sequence[str] | str = NO_DECAY,
        average: float | None = None,
        loss_scale_factor: float | None = None,
    ):
        if not callable(learning_rate):
            learning_rate = check_number("learning_rate", learning_rate, *_NOT_NEGATIVE)
        if global_clipnorm is not None:
            global_clipnorm = check_number("global_clipnorm", global_clipnorm, *_POSITIVE)
        if gradient_accumulation_steps is not None:
            check_whole("gradient_accumulation_steps", gradient_accumulation_steps)
        if not isinstance(carry_accumulation, bool):
            raise TransformerError(f"carry_accumulation must be True or False; got {carry_accumulation!r}")
        if average is not None:
            average = check_number("average", average, *_FRACTION)
        super().__init__(
            learning_rate=learning_rate,
            weight_decay=check_number("weight_decay", weight_decay or 0.0, *_NOT_NEGATIVE),
            global_clipnorm=global_clipnorm,
            gradient_accumulation_steps=None if gradient_accumulation_steps == 1 else gradient_accumulation_steps,
            loss_scale_factor=loss_scale_factor,
            name=name,
            **update,
        )
        self._rate_patterns = tuple(
            (pattern, check_number(f"rate_multipliers[{pattern!r}]", factor, *_NOT_NEGATIVE))
            for pattern, factor in dict(rate_multipliers or {}).items()
        )
        self._no_decay = (no_decay,) if isinstance(no_decay, str) else tuple(no_decay)
        self.carry_accumulation = carry_accumulation
        # Paths of weights that join later, which patterns may be for.
        self.later_paths: tuple[str, ...] = ()
        total = getattr(learning_rate, "total_steps", None) if isinstance(learning_rate, Schedule) else None
        self._length_known = total is not None
        # Variables, not numbers: a second `fit` has another length and runs the graph of the first.
        self._schedule_start = self.add_counter("schedule_start")
        self._schedule_steps = self.add_counter("schedule_steps")
        self._first_bad_step = self.add_counter("first_bad_step")
        # Keras's count of steps, `_iterations`, is that of batches; `iterations`, the updates, is a part of it. An
        # update of fewer batches takes the places of those that it lacks, so that both stay true.
        if self.gradient_accumulation_steps:
            # Batches after which nothing may be left over (0: no end is known), and how many of them are behind.
            self._period = self.add_counter("accumulation_period")
            self._period_batches = self.add_counter("accumulation_period_batches")
        self.weight_averages = None if average is None else WeightAverages(self, average)
        if total is not None:
            self._schedule_steps.assign(total)

    def add_counter(self, name: str) -> keras.Variable:
        """A whole number that is the same on all replicas, saved with the optimizer."""
        return self.add_variable((), dtype="int64", aggregation="only_first_replica", name=name)

    @property
    def first_bad_step(self) -> int:
        """The first update whose gradient was not finite, counted from 1; 0 while there was none."""
        return int(tf.convert_to_tensor(self._first_bad_step.value))

    def reset_first_bad_step(self) -> None:
        """Forget the update that was not finite, as at the start of a new run."""
        self._first_bad_step.assign(0)

    def bind_schedule(self, total_steps: int, start: int | None = None) -> None:
        """Give a `Schedule` its length; the graph that trains need not be traced again.

        Args:
            total_steps: Length of the run, in optimizer updates.
            start: Number of the update at which the schedule is at its first step; by default the current one. It may
                be negative: a run that is continued in the middle.

        Raises:
            TransformerError: `total_steps` is no whole number of at least 1.
        """
        steps = check_total_steps(total_steps)
        if steps is None:
            raise TransformerError("total_steps must be a whole number of at least 1; got None")
        if start is None:
            start = int(keras.ops.convert_to_numpy(self.iterations))
        self._schedule_start.assign(start)
        self._schedule_steps.assign(steps)
        self._length_known = True

    def start_run(self, epoch_batches: int | None, epochs: int = 1, continued: bool = False) -> None:
        """Start with nothing accumulated, and with the length of the epochs, whose ends make an update.

        Args:
            epoch_batches: Number of batches in an epoch; None where it is not known, and what is left is carried on.
            epochs: Number of epochs of this run.
            continued: Whether the run goes on with an earlier one, whose weights and average are at hand then.
        """
        if self.weight_averages is not None:
            self.weight_averages.start(continued)
        if not self.gradient_accumulation_steps:
            return
        for accumulated in self._accumulated_gradients if self.built else ():
            accumulated.assign(keras.ops.zeros_like(accumulated))
        # The updates that were made, and no batch beside them.
        self._iterations.assign(self.iterations * self.gradient_accumulation_steps)
        self._period.assign((epoch_batches or 0) * (epochs if self.carry_accumulation else 1))
        self._period_batches.assign(0)

    def start_epoch(self) -> None:
        """Count the batches of an epoch from here: float16's loss scale may have skipped some of the last one's.

        The model has the weights that train, whatever it was judged with.
        """
        if self.weight_averages is not None:
            self.weight_averages.hide()
        if self.gradient_accumulation_steps and not self.carry_accumulation:
            self._period_batches.assign(0)

    def show_average(self) -> None:
        """Give the model the average of its weights, if the optimizer keeps one, until the next epoch starts."""
        if self.weight_averages is not None:
            self.weight_averages.show()

    def finalize_variable_values(self, var_list: Any) -> None:
        # Keras calls it at the end of `fit`; the variables are those that the optimizer was built for.
        self.show_average()

    def _count_batch(self) -> tuple[tf.Tensor, tf.Tensor]:
        """Return the number of batches accumulated with this one, as a float32, and whether they make an update."""
        done, steps = self._period_batches.value + 1, self.gradient_accumulation_steps
        end = tf.equal(done, self._period.value)
        self._period_batches.assign(tf.where(end, tf.zeros_like(done), done))
        batches = self._iterations.value % steps + 1
        return tf.cast(batches, tf.float32), tf.logical_or(end, tf.equal(batches, steps))

    def _skip_missing_batches(self, batches: tf.Tensor, last: tf.Tensor) -> None:
        missing = self.gradient_accumulation_steps - tf.cast(batches, self._iterations.dtype)
        self._iterations.assign_add(tf.where(last, missing, tf.zeros_like(missing)))

    def load_own_variables(self, store: Any) -> None:
        if self.built and self._traced and len(store.keys()) == len(self.variables):
            place = next(i for i, variable in enumerate(self.variables) if variable is self.unfreeze_steps)
            if _first_alike(store[str(place)]) != self._together:
                raise TransformerError(
                    "the optimizer's state has weights that joined at other times than those in training: call "
                    "compile() again before loading it"
                )
        super().load_own_variables(store)
        self._length_known = int(tf.convert_to_tensor(self._schedule_steps.value)) > 0
        if self.built:
            self._together = _first_alike(keras.ops.convert_to_numpy(self.unfreeze_steps))

    def _get_current_learning_rate(self) -> Any:
        rate = self._learning_rate
        if isinstance(rate, Schedule):
            if not self._length_known:
                return rate.first_rate()
            return rate.rate(self.iterations - self._schedule_start.value, self._schedule_steps.value)
        if isinstance(rate, keras.optimizers.schedules.LearningRateSchedule):
            return rate(self.iterations)
        return super()._get_current_learning_rate()

    def add_variable(self, shape: Any, initializer: Any = "zeros", dtype: Any = None, **kwargs: Any) -> Any:
        # In half precision a moment stands still: what a step adds to it is below its last bit.
        dtype = _slot_dtype(dtype).name if dtype in ("float16", "bfloat16") else dtype
        return super().add_variable(shape, initializer, dtype, **kwargs)

    def build(self, variables: Sequence[keras.Variable]) -> None:
        if self.built:
            return
        super().build(variables)
        if self.weight_averages is not None:
            self.weight_averages.build(variables)
        shape = (len(variables),)
        self.unfreeze_steps = self.add_variable(
            shape, dtype="int64", aggregation="only_first_replica", name="unfreeze_steps"
        )
        # Decided when the step is traced: counts of updates that are the same are computed once, as most are.
        self._together, self._traced = (0,) * len(variables), False
        paths = [variable.path for variable in variables]
        # Where weights join by stages, a pattern may be for some that come later.
        known = tuple(dict.fromkeys((*paths, *self.later_paths)))
        factors = [1.0] * len(paths)
        # From the last pattern to the first, so that the first one that matches has the last word.
        for pattern, factor in reversed(self._rate_patterns):
            _check_pattern(pattern, known, "rate_multipliers")
            for index in matching(pattern, paths, "rate_multipliers"):
                factors[index] = factor
        spared = set()
        for pattern in self._no_decay:
            if self._no_decay != NO_DECAY:
                _check_pattern(pattern, known, "no_decay")
            spared |= matching(pattern, paths, "no_decay")
        self._rate_factors = tuple(factors)
        self._decayed = tuple(
            bool(self.weight_decay) and index not in spared and self._use_weight_decay(variable)
            for index, variable in enumerate(variables)
        )

    def set_unfreeze_steps(self, updates: Sequence[int]) -> None:
        """Say of every weight how many updates were done when it joined; before the first step."""
        self.unfreeze_steps.assign(list(updates))
        self._together = _first_alike(updates)

    def own_updates(self, place: int) -> tf.Tensor:
        """The number of updates of the weight at a place, this one included, as a float32 scalar."""
        self._traced = self._traced or not tf.executing_eagerly()
        joined = tf.convert_to_tensor(self.unfreeze_steps.value)[place]
        return tf.cast(self.iterations - joined, tf.float32) + 1.0

    def slots(self, place: int) -> tuple[keras.Variable, ...]:
        """The variables of the optimizer's own update for the weight at a place in the list that it was built for."""
        return ()

    def remembered(self, place: int) -> tuple[keras.Variable, ...]:
        """All that the optimizer remembers of the weight at a place."""
        accumulated = (self._accumulated_gradients[place],) if self.gradient_accumulation_steps else ()
        averages = () if self.weight_averages is None else (self.weight_averages.averages[place],)
        return (*accumulated, *averages, *self.slots(place))

    def _backend_apply_gradients(self, grads: Sequence[Any], trainable_variables: Sequence[Any]) -> None:
        if isinstance(self._learning_rate, Schedule) and not self._length_known:
            raise TransformerError(
                "the schedule has no length: pass total_steps to it, or the callback BindSchedule to fit"
            )
        places = [self._get_variable_index(variable) for variable in trainable_variables]
        variables = [v.value if isinstance(v, keras.Variable) else v for v in trainable_variables]
        reduced = self._all_reduce_sum_gradients(zip(grads, variables))
        grads = [self._prepared(grad, variable, place) for (grad, variable), place in zip(reduced, places)]
        steps = self.gradient_accumulation_steps
        accumulators = [self._accumulated_gradients[place].value for place in places] if steps else []
        grads = [total + grad for total, grad in zip(accumulators, grads)] if steps else grads
        batches, last = self._count_batch() if steps else (tf.constant(1.0), tf.constant(True))
        norm = _global_norm(grads) / batches
        finite = tf.math.is_finite(norm)
        self._note(finite)
        scale = 1.0 / batches
        if self.global_clipnorm:
            scale *= self.global_clipnorm / tf.maximum(norm, self.global_clipnorm)
        rate = tf.cast(tf.convert_to_tensor(self.learning_rate), tf.float32)
        shared, constants = (scale, rate), self._step_constants(places)
        averages = self.weight_averages
        moved = tf.constant(0.0) if averages is None else averages.count(tf.logical_and(finite, last))

        def finish(
            strategy: tf.distribute.Strategy,
            grads: Any,
            shared: Any,
            constants: Any,
            finite: Any,
            last: Any,
            moved: Any,
        ) -> None:
            # Replicas meet only here: conditions are legal where all of them are one, not inside each.
            finite, last = _local(strategy, finite), _local(strategy, last)

            def update() -> None:
                for variable, grad, own, place in zip(variables, grads, constants, places):
                    given = (grad, *shared, *own, *(slot.value for slot in self.slots(place)))
                    strategy.extended.update(variable, self._updater(place), group=False, args=given)
                if averages is not None:
                    averages.update(strategy, places, variables, moved)

            def accumulate() -> None:
                for accumulator, grad in zip(accumulators, grads):
                    strategy.extended.update(accumulator, _assign, args=(grad,), group=False)

            def update_and_reset() -> None:
                when(finite, update)
                for accumulator in accumulators:
                    strategy.extended.update(accumulator, _reset, group=False)

            if steps:
                when(last, update_and_reset, lambda: when(finite, accumulate))
            else:
                when(finite, update)

        tf.__internal__.distribute.interim.maybe_merge_call(
            finish, self._distribution_strategy, grads, shared, constants, finite, last, moved
        )
        if steps:
            self._skip_missing_batches(batches, last)

    def _prepared(self, grad: Any, variable: Any, place: int) -> Any:
        """A reduced gradient as the update takes it: written out, in the dtype of the slots."""
        return tf.cast(tf.convert_to_tensor(grad), _slot_dtype(variable.dtype))

    def _note(self, finite: tf.Tensor) -> None:
        first = self._first_bad_step.value
        step = tf.cast(self.iterations, tf.int64) + 1
        self._first_bad_step.assign(tf.where(tf.logical_or(finite, first > 0), tf.identity(first), step))

    def _updater(self, place: int) -> Any:
        factor, decayed = self._rate_factors[place], self._decayed[place]

        def update(variable: Any, grad: Any, scale: Any, rate: Any, *rest: Any) -> None:
            rate, grad = tf.cast(rate * factor, grad.dtype), _scaled(grad, scale)
            keep = 1.0 - rate * self.weight_decay if decayed else None
            self._update_weight(variable, grad, rate, keep, *rest)

        return update

    def _step_constants(self, places: Sequence[int]) -> list[tuple[tf.Tensor, ...]]:
        """For each of these weights the scalars that its update needs."""
        return [()] * len(places)

    def _update_weight(self, variable: Any, grad: Any, rate: Any, keep: Any, *state: Any) -> None:
        """Multiply the weight by `keep`, if it is decayed, and make the optimizer's own step of this rate.

        `state` holds the scalars of `_step_constants` and the values of `slots`, for steps that are written out.
        """
        if keep is not None:
            variable.assign(tf.cast(tf.cast(variable, keep.dtype) * keep, variable.dtype))
        self.update_step(grad, variable, rate)

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        for name in ("clipnorm", "clipvalue", "use_ema", "ema_momentum", "ema_overwrite_frequency"):
            del config[name]
        return {
            **config,
            "carry_accumulation": self.carry_accumulation,
            "rate_multipliers": dict(self._rate_patterns),
            "no_decay": list(self._no_decay),
            "average": None if self.weight_averages is None else self.weight_averages.fraction,
        }


def _global_norm(grads: Sequence[tf.Tensor]) -> tf.Tensor:
    # l2_loss reads each gradient once and writes nothing of its size; in float16 it would overflow.
    parts = [grad.values if isinstance(grad, tf.IndexedSlices) else grad for grad in grads]
    return tf.sqrt(2.0 * tf.add_n([tf.nn.l2_loss(tf.cast(part, tf.float32)) for part in parts]))


def _scaled(grad: Any, scale: tf.Tensor) -> Any:
    scale = tf.cast(scale, grad.dtype)
    if isinstance(grad, tf.IndexedSlices):
        return tf.IndexedSlices(grad.values * scale, grad.indices, grad.dense_shape)
    return grad * scale


def _slot_dtype(dtype: Any) -> tf.DType:
    return tf.float64 if tf.as_dtype(dtype) == tf.float64 else tf.float32


def _local(strategy: tf.distribute.Strategy, value: Any) -> Any:
    # All replicas hold the same value: it was computed from reduced gradients.
    together = tf.distribute.in_cross_replica_context()
    return strategy.experimental_local_results(value)[0] if together else value


def when(condition: Any, then: Any, otherwise: Any = None) -> None:
    """`tf.cond` with branches that return nothing."""

    def run(branch: Any) -> Any:
        def body() -> tf.Tensor:
            if branch is not None:
                branch()
            return tf.constant(0)

        return body

    tf.cond(condition, run(then), run(otherwise))


def _assign(variable: Any, value: Any) -> None:
    variable.assign(value)


def _first_alike(counts: Iterable[int]) -> tuple[int, ...]:
    """For each number the first place that holds it."""
    counts = [int(count) for count in counts]
    return tuple(counts.index(count) for count in counts)


def _reset(variable: Any) -> None:
    variable.assign(tf.zeros_like(variable))
