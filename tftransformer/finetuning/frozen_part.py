"""The frozen lower part of a classifier, whose outputs are the same in every epoch."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from tftransformer.config import TransformerConfig
from tftransformer.layers.pooling import CLSPooling
from tftransformer.layers.slots import SlottedLayer
from tftransformer.layers.sublayers import sublayers_of
from tftransformer.models.walk import stack_of, states_name, walk
from tftransformer.patterns import address

# Part of the key of everything stored: to be raised when the same weights come to give other numbers.
FORMAT = 1
POOLED = "pooled"
# What a layer's config holds beside what decides its output in inference.
_WITHOUT_EFFECT = {"trainable", "dropout", "attention_dropout", "kernel_initializer", "initializer"}


@dataclass(frozen=True)
class FrozenPart:
    """The frozen part of an encoder with its pooling; call it on inputs to get what it ends in.

    Args:
        encoder: Model of `build_encoder`.
        config: Config of the encoder.
        blocks: Number of applications of blocks in the part.
        output: "tokens": it ends in one vector a token. "first": all else ignores all but the first token's
            vector. "pooled": it contains the pooling, too, and ends in one vector a text.
        pooler: The pooling layer.
    """

    encoder: keras.Model
    config: TransformerConfig
    blocks: int
    output: str
    pooler: Any

    def __call__(self, inputs: Mapping[str, Any]) -> Any:
        """(B, T, D) for "tokens", else (B, 1, D), in inference mode; from token ids, or from states further down."""
        stack = stack_of(self.encoder, self.config)
        if self.output == "pooled":
            x = walk(stack, inputs, training=False)
            return self.pooler(x, padding_mask=inputs["padding_mask"], training=False)[:, None]
        x = walk(stack, inputs, stop=self.blocks, training=False)
        return x[:, :1] if self.output == "first" else x

    @property
    def entry(self) -> str:
        """The name under which a batch holds what the part ends in."""
        return POOLED if self.output == "pooled" else states_name(self.blocks)

    @property
    def width(self) -> int:
        """D."""
        return self.config.hidden_dim

    @property
    def dtype(self) -> str:
        """Dtype that the part computes in."""
        return keras.backend.standardize_dtype(self.encoder.get_layer("embeddings").compute_dtype)

    def digest(self) -> str:
        """A hash of everything that decides the numbers: weights, structure, precision, place of the cut."""
        hashed = hashlib.sha256()
        settings = {
            "format": FORMAT,
            "keras": keras.__version__,
            "device": _device(),
            "blocks": self.blocks,
            "output": self.output,
            "config": _deciding(self.config.to_dict()),
            "layers": [_structure(layer) for layer in self._layers()],
            "parts": [_put_in(layer) for layer in self._layers()],
        }
        hashed.update(json.dumps(settings, sort_keys=True, default=str).encode())
        for layer in self._layers():
            for variable in layer.variables:
                if "seed_generator" not in variable.path:
                    value = np.ascontiguousarray(keras.ops.convert_to_numpy(variable))
                    about = f"{address(variable, layer)} {value.shape} {value.dtype}"
                    hashed.update(about.encode())
                    hashed.update(value.view("uint8").reshape(-1) if value.ndim else value.tobytes())
        return hashed.hexdigest()

    def _layers(self) -> Iterator[Any]:
        stack = stack_of(self.encoder, self.config)
        yield from stack.below(self.blocks)
        if self.output == "pooled":
            if stack.final_norm is not None:
                yield stack.final_norm
            yield self.pooler

    def __str__(self) -> str:
        blocks = "block 0" if self.blocks == 1 else f"blocks 0-{self.blocks - 1}"
        if self.output == "pooled":
            return f"embeddings, {blocks} and pooling"
        return f"embeddings and {blocks}"


def find_frozen_part(
    encoder: keras.Model, config: TransformerConfig, pooler: Any | None, extra_blocks: int = 0
) -> FrozenPart | None:
    """The longest frozen part of a classifier that begins with the embeddings and has a block at least.

    Args:
        encoder, config: As for `FrozenPart`.
        pooler: Layer of `layers.pooling`; None where every token's vector is looked at.
        extra_blocks: Number of blocks between the encoder and the pooling.

    Returns:
        The part, or None where there is none.

    Example:
        >>> part = find_frozen_part(encoder, config, pooler)  # doctest: +SKIP
        >>> str(part)  # doctest: +SKIP
        'embeddings and blocks 0-7'
    """
    stack, blocks = stack_of(encoder, config), config.num_layers
    while blocks and not all(map(_is_frozen, stack.below(blocks))):
        blocks -= 1
    if not blocks:
        return None
    output = "tokens"
    if pooler is not None and blocks == config.num_layers and not extra_blocks:
        norm_frozen = stack.final_norm is None or _is_frozen(stack.final_norm)
        if norm_frozen and (not pooler.weights or _is_frozen(pooler)):
            output = "pooled"
        elif isinstance(pooler, CLSPooling):
            output = "first"
    return FrozenPart(encoder, config, blocks, output, pooler)


def _is_frozen(layer: Any) -> bool:
    # The layer's own switch counts as well as its weights': it is what turns its dropout off.
    return not layer.weights or not layer.trainable and not any(v.trainable for v in layer.variables)


def _structure(layer: Any) -> dict[str, Any]:
    try:
        config = layer.get_config()
    except NotImplementedError:  # Keras's word for a layer that has nothing to say beyond its class
        config = {}
    return {"class": type(layer).__name__, **_deciding(config)}


def _put_in(layer: Any) -> list[Any]:
    """Return the parts inserted into a layer after it was built, which the layer's own config does not contain."""
    slotted = sublayers_of(layer, SlottedLayer).items()
    held = [(f"{name}/{slot}", getattr(part, slot)) for name, part in slotted for slot in part.slots]
    return [(name, type(part).__name__, part.get_config()) for name, part in held if part is not None]


def _deciding(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in settings.items() if name not in _WITHOUT_EFFECT}


def _device() -> str:
    import tensorflow as tf

    return "GPU" if tf.config.list_logical_devices("GPU") else "CPU"
