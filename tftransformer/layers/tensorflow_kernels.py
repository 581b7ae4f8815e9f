"""What `kernels` uses on TensorFlow: forward and backward passes written out, each compiled where that pays.

A compiled (XLA) kernel reads and writes memory once where TensorFlow's own operations do so once each. The matrix
products stay outside: the libraries behind TensorFlow's are faster than XLA's on CPUs.
"""

import math
from collections.abc import Callable
from typing import Any

import tensorflow as tf

# Elements from which on compiling a kernel for a new shape (40 to 100 ms) is soon earned back.
LARGE = 1 << 19
_ROOT_HALF = math.sqrt(0.5)
_DENSITY = 1.0 / math.sqrt(2.0 * math.pi)


def _kernel(function: Callable) -> Callable:
    """A function of tensors that is compiled, once for each shape, where its first argument is large.

    Only on CPUs: with a GPU or a TPU the whole step is compiled. And only for one replica, since XLA compiles
    for one device.
    """
    compiled = tf.function(function, jit_compile=True, autograph=False, reduce_retracing=True)

    def run(*tensors: tf.Tensor) -> Any:
        accelerated = tf.config.list_physical_devices("GPU") or tf.config.list_physical_devices("TPU")
        if accelerated or tf.distribute.get_strategy().num_replicas_in_sync > 1:
            return function(*tensors)
        count = tensors[0].shape.num_elements()
        if count is not None:
            return (compiled if count >= LARGE else function)(*tensors)
        return tf.cond(tf.size(tensors[0]) >= LARGE, lambda: compiled(*tensors), lambda: function(*tensors))

    return run


# GELU


def gelu(x: Any) -> tf.Tensor:
    """x Phi(x) with its gradient, Phi(x) + x phi(x), in float32 throughout."""

    @tf.custom_gradient
    def activate(x: tf.Tensor) -> tuple:
        return _gelu(x), lambda dy: _gelu_gradient(x, dy)

    return _shaped(activate(tf.convert_to_tensor(x)), x)


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


def dropout(x: Any, rate: float, seed: Any) -> tf.Tensor:
    """Inverted dropout from one random byte an element; the gradient multiplies by the same mask.

    Args:
        x: Any shape.
        rate: Rounded to k/256, k from 1 to 255.
        seed: (2,) integers.
    """
    x = tf.convert_to_tensor(x)
    dropped = min(max(round(rate * 256), 1), 255)
    kept = tf.cast(_random_bytes(tf.shape(x), seed) >= dropped, x.dtype)
    multiplier = kept * tf.cast(256 / (256 - dropped), x.dtype)

    @tf.custom_gradient
    def masked(x: tf.Tensor) -> tuple:
        return x * multiplier, lambda dy: dy * multiplier

    return _shaped(masked(x), x)


def _random_bytes(shape: tf.Tensor, seed: Any) -> tf.Tensor:
    # The random numbers are what costs: a 32-bit word gives four elements.
    count = tf.reduce_prod(shape)
    words = tf.random.stateless_uniform(
        [(count + 3) // 4], tf.cast(seed, tf.int32), minval=None, maxval=None, dtype=tf.int32
    )
    return tf.reshape(tf.reshape(tf.bitcast(words, tf.uint8), [-1])[:count], shape)


def _shaped(y: tf.Tensor, like: Any) -> tf.Tensor:
    # What a condition returns has lost its static shape.
    y.set_shape(like.shape)
    return y
