"""Run an encoder over rows that hold several texts, each of which sees itself alone."""

from collections.abc import Mapping
from typing import Any

import keras
from keras import ops

from tftransformer.config import TransformerConfig
from tftransformer.models.surgery import run_blocks


def run_packed(
    encoder: keras.Model, config: TransformerConfig, inputs: Mapping[str, Any], training: bool | None = None
) -> Any:
    """What an encoder gives for each text of a packed batch, as if it stood in a row of its own.

    Args:
        encoder: Of `build_encoder`.
        config: Its config.
        inputs: Integers. (R, T): `token_ids`, `segment_ids`, `position_ids` and `text_numbers`, equal for the tokens of
            one text of a row, 0 where there is none. (B, L): `places`, the place of each text's tokens among the
            R*T, and `padding_mask`, 1 at real tokens.
        training: As for a Keras model.

    Returns:
        (B, L, D). At padding it holds the vector of some other token, which nobody may look at.

    Example:
        >>> config = TransformerConfig(vocabulary_size=50, num_layers=2, hidden_dim=8, num_heads=2, intermediate_dim=16)
        >>> rows = {name: keras.ops.ones((1, 6), "int32") for name in ("token_ids", "text_numbers")}
        >>> rows |= {name: keras.ops.zeros((1, 6), "int32") for name in ("segment_ids", "position_ids")}
        >>> texts = {"places": keras.ops.zeros((2, 3), "int32"), "padding_mask": keras.ops.ones((2, 3), "int32")}
        >>> run_packed(build_encoder(config), config, {**rows, **texts}).shape
        TensorShape([2, 3, 8])
    """
    numbers = inputs["text_numbers"]
    segments = {"segment_ids": inputs["segment_ids"]} if config.num_segments > 1 else {}
    x = encoder.get_layer("embeddings")(
        inputs["token_ids"], **segments, position_ids=inputs["position_ids"], training=training
    )
    together = ops.equal(numbers[:, :, None], numbers[:, None, :])
    real = ops.cast(numbers > 0, "int32")
    # Positions that enter in the attention do so by distance, which inside a text is what it was.
    x = run_blocks(encoder, config, x, real, range(config.num_layers), training, attention_mask=together)
    if config.normalize_first:
        x = encoder.get_layer("final_norm")(x)
    return ops.take(ops.reshape(x, (-1, config.hidden_dim)), inputs["places"], axis=0)
