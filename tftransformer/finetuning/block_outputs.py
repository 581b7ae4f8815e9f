"""What layers put out while a model that contains them runs, without a second model of them."""

import contextlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import keras

from tftransformer.config import TransformerConfig


@contextlib.contextmanager
def recorded_outputs(layers: Iterable[keras.layers.Layer]) -> Iterator[list[Any]]:
    """Collect what layers return, call by call in the order of the calls, inside the `with` statement.

    Args:
        layers: Any layers of a model, each once.

    Yields:
        A list that fills while the model runs.

    Example:
        >>> with recorded_outputs([classifier.pooler]) as vectors:  # doctest: +SKIP
        ...     logits = classifier(inputs)
        >>> vectors[0].shape  # doctest: +SKIP
        TensorShape([2, 384])
    """
    outputs: list[Any] = []
    layers = list(layers)
    for layer in layers:
        layer.call = _recording(layer.call, outputs)
    try:
        yield outputs
    finally:
        for layer in layers:
            # The method of the class is behind the attribute, untouched.
            del layer.call


def recorded_blocks(
    encoder: keras.Model, config: TransformerConfig
) -> contextlib.AbstractContextManager[list[Any]]:
    """`recorded_outputs` of an encoder's blocks.

    Args:
        encoder: Of `build_encoder`.
        config: Its config.

    Returns:
        Yields a list that holds (B, T, D) for each of the `num_layers` applications once the encoder has run.
    """
    return recorded_outputs(
        encoder.get_layer(f"encoder_block_{number}") for number in range(config.num_blocks)
    )


def _recording(call: Callable, outputs: list[Any]) -> Callable:
    def recorded(*args: Any, **kwargs: Any) -> Any:
        output = call(*args, **kwargs)
        outputs.append(output)
        return output

    return recorded
