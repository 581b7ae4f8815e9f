"""The most that the machine computes: a large matrix product in TensorFlow, the measure of every step."""

import time

SIDES = {"float32": 2048, "bfloat16": 3072}


def gemm_peak(dtype: str, seconds: float = 1.0) -> float:
    """GFLOP/s of a large square matrix product; the best of several short measurements.

    Args:
        dtype: "float32" or "bfloat16".
        seconds: How long to measure.

    Returns:
        2 n^3 operations a product over its time, in 10^9 a second.
    """
    import tensorflow as tf

    side = SIDES[dtype]
    left = tf.cast(tf.random.normal([side, side]), dtype)
    right = tf.cast(tf.random.normal([side, side]), dtype)
    product = tf.function(tf.matmul)
    product(left, right).numpy()
    best, end = 0.0, time.perf_counter() + seconds
    while time.perf_counter() < end:
        start = time.perf_counter()
        # A number back means that the product is finished, on a GPU too.
        float(product(left, right)[0, 0])
        best = max(best, 2 * side**3 / (time.perf_counter() - start) / 1e9)
    return best
