"""The norms of blocks: with a mean and an offset (Ba et al. 2016), or by the root of the mean square alone."""

from typing import Any

import keras

from tftransformer.errors import check_choice

NORMS: dict[str, type[keras.layers.Layer]] = {
    "layer": keras.layers.LayerNormalization,
    "rms": keras.layers.RMSNormalization,
}


def make_norm(kind: str, **arguments: Any) -> keras.layers.Layer:
    """Keras's layer for a kind of norm, "layer" or "rms" (Zhang and Sennrich 2019, arXiv 1910.07467).

    Args:
        kind: The kind.
        **arguments: The layer's, such as `epsilon` and `name`.

    Raises:
        TransformerError: The kind is unknown.

    Example:
        >>> make_norm("rms", epsilon=1e-6).epsilon
        1e-06
    """
    check_choice("norm", kind, NORMS)
    return NORMS[kind](**arguments)
