"""The TensorFlow side of `kernels`: forward and backward passes written out, each compiled where that pays.

A compiled (XLA) kernel reads and writes memory once where TensorFlow's own operations do so once each. The matrix
products stay outside: the libraries behind TensorFlow's are faster than XLA's on CPUs.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import tensorflow as tf

# Elements from which on compiling a kernel for a new shape (40 to 100 ms) is soon earned back.
LARGE = 1 << 19
_ROOT_HALF = math.sqrt(0.5)
_DENSITY = 1.0 / math.sqrt(2.0 * math.pi)


def _kernel(function: Callable) -> Callable:
    """A function of tensors and of `limit` that is compiled, once for each shape, where its first argument is large.

    `limit` is the number of elements that counts as large; None: never compile.
    """
    compiled = tf.function(function, jit_compile=True, autograph=False, reduce_retracing=True)

    def run(*tensors: tf.Tensor, limit: int | None) -> Any:
        if limit is None:
            return function(*tensors)
        count = tensors[0].shape.num_elements()
        if count is not None:
            return (compiled if count >= limit else function)(*tensors)
        return tf.cond(tf.size(tensors[0]) >= limit, lambda: compiled(*tensors), lambda: function(*tensors))

    return run


def _limit() -> int | None:
    """Elements from which on kernels are compiled here.

    Only on CPUs: with a GPU or a TPU the whole step is compiled. And only for one replica, since XLA compiles
    for one device.
    """
    accelerated = tf.config.list_physical_devices("GPU") or tf.config.list_physical_devices("TPU")
    return None if accelerated or tf.distribute.get_strategy().num_replicas_in_sync > 1 else LARGE


# GELU


def gelu(x: Any) -> tf.Tensor:
    """x Phi(x) with its gradient, Phi(x) + x phi(x), in float32 throughout."""
    return _shaped(_activate(tf.convert_to_tensor(x), _limit()), x)


# A custom gradient is registered for the life of the process, together with the graph in which it was made. Made
# here, in a function of its own, that graph holds nothing; made in a model's step it would be the step and its weights.
@tf.function(autograph=False, reduce_retracing=True)
def _activate(x: tf.Tensor, limit: int | None) -> tf.Tensor:
    @tf.custom_gradient
    def activate(x: tf.Tensor) -> tuple:
        return _gelu(x, limit=limit), lambda dy: _gelu_gradient(x, dy, limit=limit)

    return activate(x)


def _normal_cdf(x: tf.Tensor) -> tf.Tensor:
    return tf.math.erf(x * _ROOT_HALF) * 0.5 + 0.5


@_kernel
def _gelu(x: tf.Tensor) -> tf.Tensor:
    wide = tf.cast(x, tf.float32)
    return tf.cast(wide * _normal_cdf(wide), x.dtype)


@_kernel
def _gelu_gradient(x: tf.Tensor, dy: tf.Tensor) -> tf.Tensor:
    wide = tf.cast(x, tf.float32)
    slope = _normal_cdf(wide) + wide * (tf.exp(tf.square(wide) * -0.5) * _DENSITY)
    return tf.cast(tf.cast(dy, tf.float32) * slope, dy.dtype)


# Dropout

# Bits of the random words that one element may get, the cheapest first, and what rounding may do to the rate.
_WORDS = {8: tf.uint8, 16: tf.uint16, 32: tf.uint32}
_RATE_ERROR = 0.02
# The step from 1 to the next larger number.
_EPSILON = {tf.bfloat16: 2.0**-7, tf.float16: 2.0**-10}


def dropout(x: Any, rate: float, seed: Any) -> tf.Tensor:
    """Inverted dropout from few random bits an element; the gradient multiplies by the same mask.

    Args:
        x: Tensor of any shape.
        rate: Dropout rate, above 0 and below 1; rounded as `dropout_law` says.
        seed: Integers (2,).
    """
    x = tf.convert_to_tensor(x)
    law = dropout_law(rate, x.dtype)
    words = _random_words(tf.shape(x), seed, law.bits)
    scale = tf.cast(law.scale, x.dtype)
    if law.raised:
        larger = tf.cast(law.scale + law.step, x.dtype)
        scale = tf.where(words >= (1 << law.bits) - law.raised, larger, scale)
    multiplier = tf.cast(words >= law.dropped, x.dtype) * scale
    # The mask comes from integers, so that no gradient is sought behind it.
    return _shaped(x * multiplier, x)


class DropoutLaw(NamedTuple):
    """Effect of each of the 2^bits equally likely random words on an element.

    The lowest `dropped` words zero it, the highest `raised` ones multiply it by `scale + step`, all others by `scale`.
    """

    bits: int
    dropped: int
    raised: int
    scale: float
    step: float


def dropout_law(rate: float, dtype: Any) -> DropoutLaw:
    """Return how elements of a dtype are dropped at a rate, such that the mean of their multipliers is 1.

    The rate is rounded to k/256; where that would change it, or the fraction that stays, by more than 2 % of itself, to
    k/65536, and where that still would, to k/2^32. Half precision cannot hold most scales: 1/.9 would become 1.109 in
    bfloat16, and activations shrink by .3 % in each dropout. There the scale is one of the two neighbours of
    1/(1 - rate) that the dtype holds, each for as many words as make their mean exact.

    Example:
        >>> dropout_law(0.5, "float32")
        DropoutLaw(bits=8, dropped=128, raised=0, scale=2.0, step=0.0)
    """
    for bits in _WORDS:
        count = 1 << bits
        dropped = min(max(round(rate * count), 1), count - 1)
        if abs(dropped / count - rate) <= _RATE_ERROR * min(rate, 1 - rate):
            break
    scale = count / (count - dropped)
    dtype = tf.as_dtype(dtype)
    if dtype not in _EPSILON:
        return DropoutLaw(bits, dropped, 0, scale, 0.0)
    # Neighbours in the dtype are `step` apart, a power of two that divides `count`: everything here is exact.
    step = _EPSILON[dtype] * 2.0 ** math.floor(math.log2(scale))
    scale = math.floor(scale / step) * step
    raised = int(count / step) - (count - dropped) * int(scale / step)
    return DropoutLaw(bits, dropped, raised, scale, step)


def _random_words(shape: tf.Tensor, seed: Any, bits: int) -> tf.Tensor:
    # The random numbers are what costs: a 32-bit word gives four elements where bytes do.
    each = 32 // bits
    count = tf.reduce_prod(shape)
    words = tf.random.stateless_uniform(
        [(count + each - 1) // each], tf.cast(seed, tf.int32), minval=None, maxval=None, dtype=tf.int32
    )
    return tf.reshape(tf.reshape(tf.bitcast(words, _WORDS[bits]), [-1])[:count], shape)


def _shaped(y: tf.Tensor, like: Any) -> tf.Tensor:
    # What a function or a condition returns has lost its static shape.
    y.set_shape(like.shape)
    return y


def is_tracing() -> bool:
    """Return whether operations go into a graph other than the one in which Keras infers shapes."""
    return not tf.executing_eagerly() and not tf.compat.v1.get_default_graph().name.startswith("scratch_graph")


# Cross-entropy over a vocabulary


def smoothed_cross_entropy(ids: Any, logits: Any, smoothing: float) -> tf.Tensor:
    """See `kernels.smoothed_cross_entropy`; float32 logits."""
    ids, logits = tf.convert_to_tensor(ids), tf.convert_to_tensor(logits)
    flat = tf.reshape(logits, tf.stack([-1, tf.shape(logits)[-1]]))
    losses = _cross_entropy(flat, tf.reshape(ids, [-1]), tf.constant(smoothing, tf.float32), _limit())
    return _shaped(tf.reshape(losses, tf.shape(ids)), ids)


# A function of its own for the reason that `_activate` is.
@tf.function(autograph=False, reduce_retracing=True)
def _cross_entropy(logits: tf.Tensor, ids: tf.Tensor, smoothing: tf.Tensor, limit: int | None) -> tf.Tensor:
    @tf.custom_gradient
    def losses(logits: tf.Tensor) -> tuple:
        value, normaliser = _losses(logits, ids, smoothing, limit=limit)
        return value, lambda dy: _losses_gradient(logits, ids, smoothing, normaliser, dy, limit=limit)

    return losses(logits)


@_kernel
def _losses(logits: tf.Tensor, ids: tf.Tensor, smoothing: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    normaliser = tf.reduce_logsumexp(logits, axis=-1)
    hit = tf.gather(logits, ids, batch_dims=1)
    return normaliser - (1.0 - smoothing) * hit - smoothing * tf.reduce_mean(logits, axis=-1), normaliser


@_kernel
def _losses_gradient(
    logits: tf.Tensor, ids: tf.Tensor, smoothing: tf.Tensor, normaliser: tf.Tensor, dy: tf.Tensor
) -> tf.Tensor:
    size = tf.shape(logits)[-1]
    hit = tf.cast(tf.range(size) == ids[:, tf.newaxis], tf.float32)
    spread = smoothing / tf.cast(size, tf.float32)
    return (tf.exp(logits - normaliser[:, tf.newaxis]) - spread - (1.0 - smoothing) * hit) * dy[:, tf.newaxis]
