"""The part of a classifier below its head: encoder, blocks of its own, pooling; and what its arguments must be."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import keras
from keras import ops

from tftransformer.checkpoints.preset import POOLINGS
from tftransformer.config import TransformerConfig
from tftransformer.data.packed_batches import PLACES, ROWS
from tftransformer.errors import TransformerError, near_miss
from tftransformer.layers.pooling import CLSPooling, MaxPooling, MeanPooling
from tftransformer.layers.taps import tap
from tftransformer.models.blocks import build_encoder_block
from tftransformer.models.encoder import build_encoder
from tftransformer.models.families import FAMILIES
from tftransformer.models.task import Task
from tftransformer.models.walk import EncoderStack, stack_of, walk
from tftransformer.text.base import Tokenizer

_POOLING = {"cls": CLSPooling, "mean": MeanPooling, "max": MaxPooling}


class Trunk(NamedTuple):
    """An encoder (a functional model), the fresh blocks above it, and what makes one vector of many."""

    encoder: keras.Model
    extra_blocks: list[keras.layers.Layer]
    pooler: keras.layers.Layer


def build_trunk(
    config: TransformerConfig, *, pooling: str, pooler: bool, extra_blocks: int, head_dropout: float, policy: Any
) -> Trunk:
    """Build everything between token ids and the pooled vector.

    Args:
        config: Sizes and choices of the encoder.
        pooling: "cls", "mean" or "max".
        pooler: With "cls": the family's dense layer and activation on the first vector (BERT's tanh).
        extra_blocks: Transformer blocks named `extra_block_{i}` between the encoder and the pooling.
        head_dropout: Rate in front of that dense layer, in families that have it there.
        policy: Keras dtype policy.
    """
    encoder = build_encoder(config, dtype=policy)
    blocks = [build_encoder_block(config, f"extra_block_{i}", policy) for i in range(extra_blocks)]
    arguments: dict[str, Any] = {}
    if pooling == "cls":
        family = FAMILIES[config.family]
        dropout = head_dropout if family.pooler_dropout else 0.0
        arguments = {"dense": pooler, "activation": family.pooler_activation, "dropout": dropout}
    pooled = _POOLING[pooling](**arguments, dtype=policy, name="pooler")
    for layer in (*blocks, pooled):
        layer.build((None, None, config.hidden_dim))
    return Trunk(encoder, blocks, pooled)


def run_trunk(trunk: Trunk | Task, config: TransformerConfig, inputs: dict, training: bool | None = None) -> Any:
    """The pooled vectors (B, D) of texts.

    Args:
        trunk: Whatever has `encoder`, `extra_blocks` and `pooler`: a `Trunk`, or a task.
        config: Of the encoder.
        inputs: Integers, as `preprocess` and `data.pipeline` make them; packed rows, too.
        training: As for a Keras model.
    """
    x = token_vectors(trunk, config, inputs, training)
    # Keras hands `training` on to what is called inside a call.
    return tap("pooled", trunk.pooler(x, padding_mask=inputs["padding_mask"]))


def token_vectors(trunk: Any, config: TransformerConfig, inputs: dict, training: bool | None = None) -> Any:
    """The vectors (B, T, D) of each text's tokens, below the pooling; arguments as of `run_trunk`.

    What stands at padding means nothing.
    """
    stack = stack_of(trunk.encoder, config)
    x = _texts_of_rows(stack, inputs, training) if PLACES in inputs else walk(stack, inputs, training=training)
    for block in trunk.extra_blocks:
        x = block(x, padding_mask=inputs["padding_mask"], training=training)
    return x


def _texts_of_rows(stack: EncoderStack, inputs: Mapping[str, Any], training: bool | None) -> Any:
    """(B, L, D): what the encoder gives for each text of a packed batch, as if it stood in a row of its own.

    At padding there is the vector of some other token, which nobody may look at.
    """
    rows = {name: inputs[name] for name in ROWS}
    x = walk(stack, {**rows, "padding_mask": ops.cast(rows["text_numbers"] > 0, "int32")}, training=training)
    return ops.take(ops.reshape(x, (-1, x.shape[-1])), inputs[PLACES], axis=0)


def check_classifier(
    config: TransformerConfig, tokenizer: Tokenizer, pooling: str, extra_blocks: int, sequence_length: int | None
) -> None:
    """Raise a `TransformerError` for the first of a classifier's arguments that cannot be."""
    if pooling not in POOLINGS:
        raise TransformerError(
            f"pooling must be one of {', '.join(POOLINGS)}; got {pooling!r}{near_miss(pooling, POOLINGS)}"
        )
    if isinstance(extra_blocks, bool) or not isinstance(extra_blocks, int) or extra_blocks < 0:
        raise TransformerError(f"extra_blocks must be 0 or a positive integer; got {extra_blocks!r}")
    if tokenizer.vocabulary_size > config.vocabulary_size:
        raise TransformerError(
            f"the vocabulary must fit the embeddings; it has {tokenizer.vocabulary_size} tokens and the embeddings "
            f"{config.vocabulary_size} rows"
        )
    # Two tokens are [CLS] and [SEP]; below that there is no room for any text.
    bound = config.max_sequence_length if config.position == "learned" else None
    if sequence_length is not None and (
        isinstance(sequence_length, bool)
        or not isinstance(sequence_length, int)
        or sequence_length < 3
        or bound
        and sequence_length > bound
    ):
        limit = f"between 3 and {bound}, the encoder's longest input" if bound else "at least 3"
        raise TransformerError(f"sequence_length must be {limit}; got {sequence_length!r}")
