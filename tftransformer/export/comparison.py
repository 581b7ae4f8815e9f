"""Every export is loaded again and compared with the model before it gets its name."""

import contextlib
from collections.abc import Callable, Iterator, Mapping

import keras
import numpy as np
import tensorflow as tf

from tftransformer.errors import TransformerError
from tftransformer.export.serving import Signature

_WORDS = "one good film , a long and dull story : no 2 of them said why ! "


def compare_export(served: Mapping[str, Callable], signatures: Mapping[str, Signature], tolerance: float) -> None:
    """Compare what was written and loaded again with the answers of the task's own layers.

    Args:
        served: Function from strings (B,), by the names of the inputs, to outputs by name; for each signature.
        signatures: Signatures by name, which say what to expect.
        tolerance: Largest difference of the output that is compared.

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


def _samples(signature: Signature) -> Iterator[list[str]]:
    """Batches of texts: none, of unlike lengths, and one that is cut."""
    words = _WORDS.split()
    yield []
    yield ["", words[2], " ".join(words[:9]), " ".join(words)]
    yield [" ".join(words * (1 + signature.sequence_length // len(words)))]


def _distance(served: Callable, name: str, signature: Signature, texts: list[str]) -> float:
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
