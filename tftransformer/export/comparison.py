"""Every export is loaded again and has to answer as the model does before it gets its name."""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING

import keras
import numpy as np
import tensorflow as tf

from tftransformer.errors import TransformerError

if TYPE_CHECKING:
    from tftransformer.export.serving import Signature

# How far probabilities may be apart. In float32 the same sums in another order, through 24 layers, stay below 1e-5. Half
# precision rounds every activation, to 8 bits (bfloat16) or 11 (float16), and the graph rounds at other places than the
# layers: for a text between two classes that is some hundredths. Weights in the wrong place are off by far more.
TOLERANCES = {"float32": 1e-4, "float16": 2e-2, "bfloat16": 1e-1}
_WORDS = "one good film , a long and dull story : no 2 of them said why ! "


def tolerance_of(*dtypes: str) -> float:
    """How far answers computed in these dtypes may be apart.

    Example:
        >>> tolerance_of("float32", "float32")
        0.0001
    """
    return max(TOLERANCES.get(dtype, TOLERANCES["float32"]) for dtype in dtypes)


def compare_export(served: Mapping[str, Callable], signatures: "Mapping[str, Signature]", tolerance: float) -> None:
    """Compare what was written and loaded again with the answers of the task's own layers.

    Args:
        served: From strings (B,), by the names of the inputs, to outputs by name; for each signature.
        signatures: What they have to answer, by name.
        tolerance: How far apart the output that is compared may be.

    Raises:
        TransformerError: They are further apart, or what was written does not run.
    """
    with _whole_float32():
        for name, signature in signatures.items():
            # Neither here nor below may a NaN pass, which is not larger than anything.
            distances = [_distance(served[name], name, signature, texts) for texts in _samples(signature)]
            worst = float(np.max(distances))
            if not worst <= tolerance:
                raise TransformerError(
                    f"an exported graph must give the model's {signature.compared} to within {tolerance:g}; those of "
                    f"the signature {name!r} are {worst:.2g} off, and nothing was written"
                )


def _samples(signature: "Signature") -> Iterator[list[str]]:
    """Batches of texts: none, of unlike lengths, and one that is cut."""
    words = _WORDS.split()
    yield []
    yield ["", words[2], " ".join(words[:9]), " ".join(words)]
    yield [" ".join(words * (1 + signature.sequence_length // len(words)))]


def _distance(served: Callable, name: str, signature: "Signature", texts: list[str]) -> float:
    # Of a pair the second text is another than the first.
    strings = [tf.constant(texts[:: (-1) ** side], tf.string) for side, _ in enumerate(signature.inputs)]
    try:
        found = served(**dict(zip(signature.inputs, strings)))[signature.compared].numpy()
    except tf.errors.OpError as error:
        reason = error.message.strip().splitlines()[0]
        raise TransformerError(
            f"an exported graph must run; the signature {name!r} of {len(texts)} texts says: {reason}"
        ) from None
    # Where there are no texts, there is nothing that the layers could be asked.
    expected = signature.expected(*strings) if texts else tf.zeros((0, *signature.shape))
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
