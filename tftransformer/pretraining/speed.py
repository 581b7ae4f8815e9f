"""What a machine can do at most in a second, and what a training step asks of it."""

import time
from typing import Any

import keras
import numpy as np
from keras import ops

from tftransformer.config import TransformerConfig

MEASURED_SECONDS = 0.5


def matmul_peak(rows: int, inner: int, columns: int, dtype: str = "float32") -> float:
    """Floating-point operations a second of one large matrix product, the best of several.

    Args:
        rows, inner, columns: Of the (rows, inner) x (inner, columns) product.
        dtype: Of the numbers.
    """
    draw = np.random.default_rng(0)
    left = ops.cast(draw.normal(size=(rows, inner)).astype("float32"), dtype)
    right = ops.cast(draw.normal(size=(inner, columns)).astype("float32"), dtype)

    def product() -> float:
        started = time.perf_counter()
        # Fetching one number waits for the whole product, also where work is handed to a device.
        ops.convert_to_numpy(ops.cast(ops.matmul(left, right)[0, 0], "float32"))
        return time.perf_counter() - started

    product()
    best, ends = product(), time.perf_counter() + MEASURED_SECONDS
    while time.perf_counter() < ends:
        best = min(best, product())
    return 2.0 * rows * inner * columns / best


def forward_operations(encoder: keras.Model, config: TransformerConfig, length: int) -> float:
    """Operations of the matrix products of a forward pass, a token, in rows of `length` tokens."""
    blocks = [
        encoder.get_layer(f"encoder_block_{config.block_of_layer(layer)}")
        for layer in range(config.num_layers)
    ]
    kernels = sum(_size_of_kernels(block) for block in [encoder.get_layer("embeddings"), *blocks])
    heads = sum(config.heads_of_block(config.block_of_layer(layer))[0] for layer in range(config.num_layers))
    attention = 2 * length * heads * config.head_dim
    return 2.0 * (kernels + attention)


def _size_of_kernels(layer: Any) -> int:
    return sum(int(np.prod(v.shape)) for v in layer.weights if v.path.endswith("/kernel"))
