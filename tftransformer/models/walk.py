"""The one way through an encoder: from token ids or from any block, to any block or the end.

It runs on symbolic inputs, which is how `build_encoder` makes its graph, and on real ones, which is how everything
else continues from stored states, packs several texts into a row or looks inside. The layers are called as they are,
with their own weights; no second model is made of them, so `get_layer(...).output`, addresses and saving know nothing
of it.

Applications of blocks are counted, not layers: where blocks are shared (ALBERT), one layer is applied several
times. Application n is tapped (`layers.taps`) as `encoder_block_{n}`.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import keras
from keras import ops

from tftransformer.config import TransformerConfig
from tftransformer.errors import TransformerError
from tftransformer.layers.taps import active_taps, tap, tapped
from tftransformer.models.blocks import build_embeddings, build_encoder_block, build_norm, build_position_bias

_STATES = "states_after_"


class EncoderStack(NamedTuple):
    """The layers of an encoder in the order in which they run.

    Attributes:
        embeddings: Layer from token ids to vectors.
        position_bias: Layer that makes the bias on the scores of all blocks; None where positions enter elsewhere.
        blocks: Block of each application; the same layer several times where blocks are shared.
        final_norm: Norm behind the last block of a pre-norm encoder; None in the others.
    """

    embeddings: keras.layers.Layer
    position_bias: keras.layers.Layer | None
    blocks: tuple[keras.layers.Layer, ...]
    final_norm: keras.layers.Layer | None

    def below(self, stop: int) -> Iterator[keras.layers.Layer]:
        """The layers that decide the hidden vectors after `stop` applications, each once."""
        yield self.embeddings
        if self.position_bias is not None:
            yield self.position_bias
        yield from {id(block): block for block in self.blocks[:stop]}.values()


def build_stack(config: TransformerConfig, num_segments: int, dtype: str | None = None) -> EncoderStack:
    """Fresh layers for an encoder.

    Args:
        config: Sizes and choices.
        num_segments: Number of rows of the segment table; 0 for none.
        dtype: Keras dtype policy of every layer. None: the global one.
    """
    embeddings = build_embeddings(config, config.vocabulary_size, num_segments, "embeddings", dtype)
    position_bias = build_position_bias(config, "position_bias", bidirectional=True, dtype=dtype)
    blocks = [build_encoder_block(config, f"encoder_block_{i}", dtype, i) for i in range(config.num_blocks)]
    applied = tuple(blocks[config.block_of_layer(layer)] for layer in range(config.num_layers))
    return EncoderStack(embeddings, position_bias, applied, build_norm(config, "final_norm", dtype))


def stack_of(encoder: keras.Model, config: TransformerConfig) -> EncoderStack:
    """The layers of a built encoder.

    Args:
        encoder: Model of `build_encoder`.
        config: Config of the encoder.

    Example:
        >>> config = TransformerConfig(vocabulary_size=50, num_layers=3, hidden_dim=8, num_heads=2, intermediate_dim=16,
        ...                            num_distinct_blocks=1)
        >>> [block.name for block in stack_of(build_encoder(config), config).blocks]
        ['encoder_block_0', 'encoder_block_0', 'encoder_block_0']
    """
    layers = {layer.name: layer for layer in encoder.layers}
    numbers = (config.block_of_layer(layer) for layer in range(config.num_layers))
    blocks = tuple(layers[f"encoder_block_{number}"] for number in numbers)
    return EncoderStack(layers["embeddings"], layers.get("position_bias"), blocks, layers.get("final_norm"))


def walk(stack: EncoderStack, inputs: Mapping[str, Any], stop: int | None = None, training: bool | None = None) -> Any:
    """The hidden vectors that an encoder's layers make of inputs.

    Args:
        stack: The layers.
        inputs: `padding_mask` (B, T), 1 at real tokens, and where to begin: `token_ids` (B, T), with `segment_ids`
            where there are several segments, or the hidden vectors (B, T, D) after n blocks under the name
            `states_name(n)`. In rows that hold several texts `position_ids` (B, T) are the places of the tokens in
            their texts, and `sequence_ids` (B, T) keep texts of unlike numbers from seeing each other.
        stop: Number of applications of blocks, counted from the first block, after which to stop; 0 for the embeddings
            alone. None: after the last one and the norm that follows it in a pre-norm encoder.
        training: Whether layers run in training mode, as for a Keras model.

    Returns:
        (B, T, D).

    Raises:
        TransformerError: `stop` is not between where the inputs begin and the number of layers.

    Example:
        >>> config = TransformerConfig(vocabulary_size=50, num_layers=2, hidden_dim=8, num_heads=2, intermediate_dim=16)
        >>> stack, ids = stack_of(build_encoder(config), config), keras.ops.ones((1, 3), "int32")
        >>> states = walk(stack, {"token_ids": ids, "padding_mask": ids, "segment_ids": ids * 0}, stop=1)
        >>> walk(stack, {states_name(1): states, "padding_mask": ids}).shape
        TensorShape([1, 3, 8])
    """
    start = _cut_of(inputs)
    _check(start or 0, stop, len(stack.blocks))
    if start is None:
        names = ("segment_ids", "position_ids") if stack.embeddings.num_segments > 1 else ("position_ids",)
        given = {name: inputs[name] for name in names if name in inputs}
        x = stack.embeddings(inputs["token_ids"], **given, training=training)
    else:
        x = inputs[states_name(start)]
    masks = {"padding_mask": inputs["padding_mask"]}
    if "sequence_ids" in inputs:
        numbers = inputs["sequence_ids"]
        masks["attention_mask"] = ops.equal(ops.expand_dims(numbers, 2), ops.expand_dims(numbers, 1))
    if stack.position_bias is not None:
        # It looks at lengths alone. Positions that enter in the attention do so by distance, which inside a text is
        # the same in a row of several.
        masks["attention_bias"] = stack.position_bias(inputs["padding_mask"])
    taps = active_taps()
    for number, block in enumerate(stack.blocks[:stop]):
        if number >= (start or 0):
            if taps is not None:
                taps.name_next(f"encoder_block_{number}")
            x = block(x, **masks, training=training)
    if stop is not None or stack.final_norm is None:
        return x
    return tap("final_norm", stack.final_norm(x))


def hidden_states(stack: EncoderStack, inputs: Mapping[str, Any], training: bool | None = None) -> tuple[Any, ...]:
    """Return the hidden vectors of `walk`: (B, T, D) after each use of a block, the last through the final norm.

    Example:
        >>> config = TransformerConfig(vocabulary_size=50, num_layers=2, hidden_dim=8, num_heads=2, intermediate_dim=16)
        >>> ids = keras.ops.ones((1, 3), "int32")
        >>> inputs = {"token_ids": ids, "padding_mask": ids, "segment_ids": ids * 0}
        >>> [state.shape for state in hidden_states(stack_of(build_encoder(config), config), inputs)]
        [TensorShape([1, 3, 8]), TensorShape([1, 3, 8])]
    """
    with tapped(r"encoder_block_\d+") as taps:
        last = walk(stack, inputs, training=training)
    return (*(taps[f"encoder_block_{layer}"] for layer in range(len(stack.blocks) - 1)), last)


def states_name(blocks: int) -> str:
    """Return the name of the input that holds the hidden vectors after so many blocks.

    Example:
        >>> states_name(8)
        'states_after_8'
    """
    return f"{_STATES}{blocks}"


def _cut_of(names: Iterable[str]) -> int | None:
    """After how many blocks inputs of these names continue; None for inputs that begin with token ids."""
    return next((int(name.removeprefix(_STATES)) for name in names if name.startswith(_STATES)), None)


def _check(start: int, stop: Any, layers: int) -> None:
    if stop is None:
        return
    if isinstance(stop, bool) or not isinstance(stop, int) or not start <= stop <= layers:
        since = "0" if not start else f"{start}, where the inputs begin,"
        raise TransformerError(f"stop must be between {since} and {layers}, the encoder's layers; got {stop!r}")
