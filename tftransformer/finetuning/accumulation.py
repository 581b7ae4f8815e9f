"""Which batches make an update together, where their gradients are accumulated: so many, or what is left of an epoch."""

from typing import Any

import keras
import tensorflow as tf

from tftransformer.errors import TransformerError


class Accumulation:
    """Mixed into an optimizer that adds up gradients: its counts of batches.

    Keras's count of steps, `_iterations`, is that of batches; `iterations`, the updates, is a part of it. An update of
    fewer batches takes the places of those that it lacks, so that both stay true.
    """

    carry_accumulation: bool

    def _add_accumulation_counters(self) -> None:
        if self.gradient_accumulation_steps:
            # Batches after which nothing may be left over (0: no end is known), and how many of them are behind.
            self._period = self._add_counter("accumulation_period")
            self._period_batches = self._add_counter("accumulation_period_batches")

    def start_run(self, epoch_batches: int | None, epochs: int = 1) -> None:
        """Start with nothing accumulated, and with the length of the epochs, whose ends make an update.

        Args:
            epoch_batches: Batches to an epoch; None where nobody knows, and what is left is carried on.
            epochs: Epochs of this run.
        """
        if not self.gradient_accumulation_steps:
            return
        for accumulated in self._accumulated_gradients if self.built else ():
            accumulated.assign(keras.ops.zeros_like(accumulated))
        # The updates that were made, and no batch beside them.
        self._iterations.assign(self.iterations * self.gradient_accumulation_steps)
        self._period.assign((epoch_batches or 0) * (epochs if self.carry_accumulation else 1))
        self._period_batches.assign(0)

    def start_epoch(self) -> None:
        """Count the batches of an epoch from here: float16's loss scale may have skipped some of the last one's."""
        if self.gradient_accumulation_steps and not self.carry_accumulation:
            self._period_batches.assign(0)

    def _count_batch(self) -> tuple[tf.Tensor, tf.Tensor]:
        """How many batches are accumulated with this one, as a float32, and whether they make an update."""
        done, steps = self._period_batches.value + 1, self.gradient_accumulation_steps
        end = tf.equal(done, self._period.value)
        self._period_batches.assign(tf.where(end, tf.zeros_like(done), done))
        batches = self._iterations.value % steps + 1
        return tf.cast(batches, tf.float32), tf.logical_or(end, tf.equal(batches, steps))

    def _skip_missing_batches(self, batches: tf.Tensor, last: tf.Tensor) -> None:
        missing = self.gradient_accumulation_steps - tf.cast(batches, self._iterations.dtype)
        self._iterations.assign_add(tf.where(last, missing, tf.zeros_like(missing)))


def check_accumulation(steps: Any) -> int | None:
    """`gradient_accumulation_steps` as an int, None for none.

    Raises:
        TransformerError: It is no whole number of at least 1.
    """
    if steps is None:
        return None
    if isinstance(steps, bool) or not isinstance(steps, int) or steps < 1:
        raise TransformerError(
            f"gradient_accumulation_steps must be a whole number of at least 1; got {steps!r}"
        )
    return steps if steps > 1 else None


def check_carry(carry: Any) -> bool:
    """`carry_accumulation`.

    Raises:
        TransformerError: It is neither True nor False.
    """
    if not isinstance(carry, bool):
        raise TransformerError(f"carry_accumulation must be True or False; got {carry!r}")
    return carry
