"""The outputs of an encoder's layers, also over rows that hold several texts which must not see each other."""

from collections.abc import Mapping
from typing import Any

import keras
from keras import ops

from tftransformer.config import TransformerConfig


def encoder_states(
    encoder: keras.Model, config: TransformerConfig, batch: Mapping[str, Any], training: bool = False
) -> list[Any]:
    """Run the layers of an encoder one by one, with its own weights.

    Args:
        encoder: Of `build_encoder`.
        config: Its config.
        batch: `token_ids`, `padding_mask` and `segment_ids` (B, T); packed rows also have `documents`, the number
            of each token's text, and `position_ids`, its place in that text.
        training: As for a Keras model.

    Returns:
        (B, T, D) for each of the `num_layers` layers; the last is the encoder's output.

    Example:
        >>> from tftransformer.models.encoder import build_encoder
        >>> config = TransformerConfig(vocabulary_size=50, num_layers=2, hidden_dim=8, num_heads=2, intermediate_dim=16)
        >>> ids = ops.ones((1, 3), "int32")
        >>> batch = {"token_ids": ids, "padding_mask": ids, "segment_ids": ids * 0}
        >>> [state.shape for state in encoder_states(build_encoder(config), config, batch)]
        [TensorShape([1, 3, 8]), TensorShape([1, 3, 8])]
    """
    token_ids, padding_mask = batch["token_ids"], batch["padding_mask"]
    segments = {"segment_ids": batch["segment_ids"]} if config.num_segments > 1 else {}
    places, masks = {}, {"padding_mask": padding_mask}
    if "documents" in batch:
        documents = batch["documents"]
        places["position_ids"] = batch["position_ids"]
        masks["attention_mask"] = ops.equal(documents[:, :, None], documents[:, None, :])
    x = encoder.get_layer("embeddings")(token_ids, **segments, **places, training=training)
    if config.position in ("alibi", "relative_buckets"):
        masks["attention_bias"] = encoder.get_layer("position_bias")(token_ids)
    states = []
    for layer in range(config.num_layers):
        block = encoder.get_layer(f"encoder_block_{config.block_of_layer(layer)}")
        x = block(x, **masks, training=training)
        states.append(x)
    if config.normalize_first:
        states[-1] = encoder.get_layer("final_norm")(x)
    return states
