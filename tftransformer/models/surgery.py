"""Cut an encoder after any of its blocks: run the part below, and later go on from there.

Applications of blocks are counted, not layers: where blocks are shared (ALBERT), one layer is applied several
times. The layers are called as they are, with their own weights. No second model is made of them, so
`get_layer(...).output`, addresses and saving know nothing of the cut.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import keras

from tftransformer.config import TransformerConfig
from tftransformer.errors import TransformerError
from tftransformer.models.encoder import encoder_inputs

_STATES = "states_after_"


def states_name(blocks: int) -> str:
    """What an input is called that holds the hidden vectors after so many blocks.

    Example:
        >>> states_name(8)
        'states_after_8'
    """
    return f"{_STATES}{blocks}"


def cut_of(names: Iterable[str]) -> int | None:
    """After how many blocks inputs of these names continue; None for inputs that begin with token ids.

    Example:
        >>> cut_of(["states_after_8", "padding_mask"])
        8
    """
    return next((int(name.removeprefix(_STATES)) for name in names if name.startswith(_STATES)), None)


def run_prefix(
    encoder: keras.Model,
    config: TransformerConfig,
    inputs: Mapping[str, Any],
    blocks: int,
    training: bool | None = None,
) -> Any:
    """The hidden vectors of an encoder after its first blocks.

    Args:
        encoder: Of `build_encoder`.
        config: Its config.
        inputs: What the encoder takes, (B, T) each.
        blocks: How many are applied; 0 for the embeddings alone.
        training: As for a Keras model.

    Returns:
        (B, T, D), before the norm that a pre-norm encoder ends with.

    Raises:
        TransformerError: `blocks` is not between 0 and the number of layers.

    Example:
        >>> config = TransformerConfig(vocabulary_size=50, num_layers=2, hidden_dim=8, num_heads=2, intermediate_dim=16)
        >>> encoder, ids = build_encoder(config), keras.ops.ones((1, 3), "int32")
        >>> inputs = {"token_ids": ids, "padding_mask": ids, "segment_ids": ids * 0}
        >>> states = run_prefix(encoder, config, inputs, blocks=1)
        >>> run_suffix(encoder, config, states, ids, blocks=1).shape
        TensorShape([1, 3, 8])
    """
    _check(config, blocks)
    segments = {"segment_ids": inputs["segment_ids"]} if config.num_segments > 1 else {}
    x = encoder.get_layer("embeddings")(inputs["token_ids"], **segments, training=training)
    return run_blocks(encoder, config, x, inputs["padding_mask"], range(blocks), training)


def run_suffix(
    encoder: keras.Model,
    config: TransformerConfig,
    states: Any,
    padding_mask: Any,
    blocks: int,
    training: bool | None = None,
) -> Any:
    """The output of an encoder from what `run_prefix` returned for as many blocks.

    Args:
        encoder: Of `build_encoder`.
        config: Its config.
        states: (B, T, D).
        padding_mask: (B, T).
        blocks: How many were applied already.
        training: As for a Keras model.

    Returns:
        (B, T, D), as the encoder itself returns it.

    Raises:
        TransformerError: `blocks` is not between 0 and the number of layers.
    """
    _check(config, blocks)
    rest = range(blocks, config.num_layers)
    x = run_blocks(encoder, config, states, padding_mask, rest, training)
    return encoder.get_layer("final_norm")(x) if config.normalize_first else x


def run_encoder(
    encoder: keras.Model, config: TransformerConfig, inputs: Mapping[str, Any], training: bool | None = None
) -> Any:
    """The output of an encoder, (B, T, D), from token ids or from the states that the inputs hold instead."""
    blocks = cut_of(inputs)
    if blocks is None:
        return encoder({name: inputs[name] for name in encoder_inputs(config)}, training=training)
    states = inputs[states_name(blocks)]
    return run_suffix(encoder, config, states, inputs["padding_mask"], blocks, training)


def run_blocks(
    encoder: keras.Model,
    config: TransformerConfig,
    x: Any,
    padding_mask: Any,
    layers: Iterable[int],
    training: bool | None,
    attention_mask: Any = None,
) -> Any:
    """Hidden vectors after some applications of an encoder's blocks, by their numbers from 0.

    Args:
        encoder: Of `build_encoder`.
        config: Its config.
        x: (B, T, D).
        padding_mask: (B, T).
        layers: Which applications, in order.
        training: As for a Keras model.
        attention_mask: (B, T, T), where not every token may see every other.

    Returns:
        (B, T, D), before the norm that a pre-norm encoder ends with.
    """
    masks = {"padding_mask": padding_mask, "attention_mask": attention_mask}
    if config.position in ("alibi", "relative_buckets"):
        # It looks at lengths alone.
        masks["attention_bias"] = encoder.get_layer("position_bias")(padding_mask)
    for layer in layers:
        block = encoder.get_layer(f"encoder_block_{config.block_of_layer(layer)}")
        x = block(x, **masks, training=training)
    return x


def _check(config: TransformerConfig, blocks: int) -> None:
    if isinstance(blocks, bool) or not isinstance(blocks, int) or not 0 <= blocks <= config.num_layers:
        raise TransformerError(
            f"blocks must be between 0 and {config.num_layers}, the encoder's layers; got {blocks!r}"
        )
