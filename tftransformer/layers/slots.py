"""Parts that are put into a layer after it was built, and taken out again.

The weights of such a part have addresses as if the layer had been built with it: the layer's own, then the
name of the part.
"""

import contextlib
from collections.abc import Iterator

import keras


def attach(layer: keras.layers.Layer, slot: str, part: keras.layers.Layer, shape: tuple) -> None:
    """Build a part and make it a sublayer of a built layer.

    Args:
        layer: Has the attribute `slot`, which is None while nothing is attached.
        slot: The name of the attribute.
        part: A layer that is not built yet.
        shape: What `part.build` is given.

    Example:
        >>> outer, inner = keras.layers.Dense(2, name="outer"), keras.layers.Dense(2, name="inner")
        >>> outer.build((None, 3))
        >>> outer.delta = None
        >>> attach(outer, "delta", inner, (None, 3))
        >>> inner.kernel.path
        'outer/inner/kernel'
    """
    with _open(layer), contextlib.ExitStack() as scopes:
        # Where a variable is made decides its path, and with it the address.
        for name in layer.path.split("/"):
            scopes.enter_context(keras.name_scope(name))
        part.build(shape)
        setattr(layer, slot, part)


def detach(layer: keras.layers.Layer, slot: str) -> None:
    """Take a part out, and its weights with it."""
    with _open(layer):
        # An attribute that is only overwritten stays among Keras's sublayers.
        layer._tracker.untrack(getattr(layer, slot))
        setattr(layer, slot, None)


@contextlib.contextmanager
def _open(layer: keras.layers.Layer) -> Iterator[None]:
    # A built layer refuses new parts unless told otherwise; `enable_lora` of Keras's own layers does the same.
    layer._tracker.unlock()
    try:
        yield
    finally:
        layer._tracker.lock()
