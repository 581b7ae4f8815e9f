"""Every export is loaded again and has to answer as the model does before it gets its name."""

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from tftransformer.errors import TransformerError

# How far probabilities may be apart. In float32 the same sums in another order, through 24 layers, stay below 1e-5. Half
# precision rounds every activation, to 8 bits (bfloat16) or 11 (float16), and the graph rounds at other places than the
# layers: for a text between two classes that is some hundredths. Weights in the wrong place are off by far more.
TOLERANCES = {"float32": 1e-4, "float16": 2e-2, "bfloat16": 1e-1}
_WORDS = "one good film , a long and dull story : no 2 of them said why ! "


class Served(NamedTuple):
    """A signature of texts, and what it must answer.

    Args:
        function: The concrete function.
        expected: From one (B,) tensor of strings, or for pairs from two, to the model's own probabilities (B, C).
        num_labels: C.
        pairs: Whether it takes pairs.
        max_length: Tokens of a text at most; one of the texts compared is longer.
    """

    function: Any
    expected: Callable[..., tf.Tensor]
    num_labels: int
    pairs: bool
    max_length: int


def tolerance_of(*dtypes: str) -> float:
    """How far answers computed in these dtypes may be apart.

    Example:
        >>> tolerance_of("float32", "float32")
        0.0001
    """
    return max(TOLERANCES.get(dtype, TOLERANCES["float32"]) for dtype in dtypes)


def compare_export(folder: str | os.PathLike, signatures: Mapping[str, Served], tolerance: float) -> None:
    """Load a SavedModel and compare the probabilities of each signature with the model's.

    Args:
        folder: The SavedModel.
        signatures: What it has to answer, by name.
        tolerance: How far probabilities may be apart.

    Raises:
        TransformerError: They are further apart, or the graph does not run.
    """
    loaded = tf.saved_model.load(os.fspath(folder))
    with _whole_float32():
        for name, served in signatures.items():
            function = loaded.signatures[name]
            # Neither here nor below may a NaN pass, which is not larger than anything.
            worst = float(np.max([_distance(function, name, served, texts) for texts in _samples(served)]))
            if not worst <= tolerance:
                raise TransformerError(
                    f"an exported graph must give the model's probabilities to within {tolerance:g}; those of the "
                    f"signature {name!r} are {worst:.2g} off, and nothing was written"
                )


def _samples(served: Served) -> Iterator[list[str]]:
    """Batches of texts: none, of unlike lengths, and one that is cut."""
    words = _WORDS.split()
    yield []
    yield ["", words[2], " ".join(words[:9]), " ".join(words)]
    yield [" ".join(words * (1 + served.max_length // len(words)))]


def _distance(function: Any, name: str, served: Served, texts: list[str]) -> float:
    sides = [tf.constant(texts, tf.string)]
    if served.pairs:
        sides.append(sides[0][::-1])
    try:
        found = function(**dict(zip(("text", "text_pair"), sides)))["probabilities"].numpy()
    except tf.errors.OpError as error:
        reason = error.message.strip().splitlines()[0]
        raise TransformerError(
            f"an exported graph must run; the signature {name!r} of {len(texts)} texts says: {reason}"
        ) from None
    # Where there are no texts, there is nothing that the layers could be asked.
    expected = served.expected(*sides) if texts else tf.zeros((0, served.num_labels))
    expected = keras.ops.convert_to_numpy(tf.cast(expected, tf.float32))
    if found.shape != expected.shape:
        return float("inf")
    return float(np.abs(found - expected).max(initial=0.0))


@contextlib.contextmanager
def _whole_float32() -> Iterator[None]:
    """Matrix products in float32 as such, not in the 10 bits that accelerators use for them."""
    settings = tf.config.experimental
    before = settings.tensor_float_32_execution_enabled()
    settings.enable_tensor_float_32_execution(False)
    try:
        yield
    finally:
        settings.enable_tensor_float_32_execution(before)
