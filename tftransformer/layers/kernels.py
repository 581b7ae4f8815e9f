"""Functions of the layers that TensorFlow can compute in fewer passes over memory than `keras.ops`.

On a CPU a training step spends as much time on moving activations as some of its matrix products take, so what
happens between the products counts. On other backends these are plain `keras.ops`.
"""

from typing import Any

import keras
from keras import ops

tensorflow: Any = None
if keras.backend.backend() == "tensorflow":
    from tftransformer.layers import tensorflow_kernels as tensorflow


def gelu(x: Any, training: bool = False) -> Any:
    """The exact GELU, x Phi(x) (Hendrycks & Gimpel 2016, arXiv 1606.08415), of the shape and dtype of x.

    Args:
        x: Tensor of any shape.
        training: Whether a gradient will be wanted. Inference keeps the plain form, which TensorFlow's graph
            rewriter fuses with the matrix product before it.

    Example:
        >>> round(float(gelu(keras.ops.ones(()))), 4)
        0.8413
    """
    if tensorflow is not None and training:
        return tensorflow.gelu(x)
    return ops.gelu(x, approximate=False)


def dropout(x: Any, rate: float, seed_generator: keras.random.SeedGenerator) -> Any:
    """x with the fraction `rate` of its elements zeroed and the others scaled up, so that the mean stays.

    TensorFlow draws one random byte an element instead of a 32-bit float, so that the rate is rounded to a
    multiple of 1/256 there (.1 to .1016), and two or four bytes where that would change it by more than 2 % of
    itself; the scale is that of the rounded rate, and on average exact in half precision, too.

    Args:
        x: Tensor of any shape.
        rate: Dropout rate, above 0 and below 1.
        seed_generator: Moves on with each call.
    """
    if tensorflow is not None:
        return tensorflow.dropout(x, rate, seed_generator.next())
    return keras.random.dropout(x, rate, seed=seed_generator)


def smoothed_cross_entropy(ids: Any, logits: Any, smoothing: float) -> Any:
    """Cross-entropy of logits against ids, of which a fraction of the weight is spread over all classes.

    TensorFlow reads the logits once on the way forward and once on the way back: over a vocabulary they are larger than
    all activations of a small model together.

    Args:
        ids: Integers of any shape.
        logits: That shape and an axis of V more.
        smoothing: Fraction of the weight that is spread (0 to 1).

    Returns:
        Float32, of the shape of the ids.

    Example:
        >>> round(float(smoothed_cross_entropy(0, [0.0, 0.0], 0.1)), 4)
        0.6931
    """
    logits = ops.cast(logits, "float32")
    ids = ops.cast(ids, "int32")
    if tensorflow is not None:
        return tensorflow.smoothed_cross_entropy(ids, logits, smoothing)
    hit = ops.squeeze(ops.take_along_axis(logits, ops.expand_dims(ids, -1), axis=-1), -1)
    return ops.logsumexp(logits, axis=-1) - (1.0 - smoothing) * hit - smoothing * ops.mean(logits, axis=-1)


def is_tracing() -> bool:
    """Return whether the current computation becomes a TensorFlow graph that is kept; False on other backends."""
    return tensorflow is not None and tensorflow.is_tracing()
