"""The machine itself as a contender: a large matrix product in TensorFlow in the precisions of `dtypes`, the measure of every step."""

import time
from typing import Any

from sidebyside.worker import serve

SIDES = {"float32": 2048, "bfloat16": 3072}


def gemm_peak(dtype: str, seconds: float = 1.0) -> float:
    """Return the GFLOP/s of a large square matrix product, the best of several short measurements in so many seconds."""
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


def prepare(settings: dict[str, Any]) -> tuple[list[str], dict[str, Any]]:
    for dtype in settings["dtypes"]:
        gemm_peak(dtype, seconds=0.2)
    return settings["dtypes"], {}


if __name__ == "__main__":
    serve(prepare, lambda dtypes, number: {f"peak_{dtype}": gemm_peak(dtype) for dtype in dtypes})
