"""A task's network below its head in the form that a server runs fastest: the same numbers by fewer operations.

The layers serve training and every backend; a server only ever runs forward, on TensorFlow. So here the hidden
vectors stay (B*T, D) rows from the first block to the last, weights are constants of the graph, already joined and in
the precision of the products, queries, keys and values come from one matrix product, and where only the first token is pooled, the last block computes only that.

A block that is not of the plain kind (rotary or relative positions, shared key heads, weights this file does
not know) runs as the layer it is.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tftransformer.config import TransformerConfig
from tftransformer.layers.encoder_block import EncoderBlock
from tftransformer.layers.pooling import CLSPooling
from tftransformer.layers.projection import Projection
from tftransformer.layers.sublayers import sublayers_of
from tftransformer.models.walk import stack_of
from tftransformer.patterns import addresses

# Exact forms that TensorFlow's graph rewriter fuses with the matrix product before them.
_ACTIVATIONS: dict[str, Callable[[tf.Tensor], tf.Tensor]] = {
    "gelu": lambda x: tf.nn.gelu(x, approximate=False),
    "gelu_tanh": lambda x: tf.nn.gelu(x, approximate=True),
    "relu": tf.nn.relu,
    "silu": tf.nn.silu,
}
_NORMS = ("attention_norm", "feed_forward_norm")
# Constants are part of the graph's protocol buffer, which may not exceed 2 GB.
_MOST_CONSTANT_BYTES = 1_200_000_000


def inference_network(
    encoder: keras.Model,
    config: TransformerConfig,
    extra_blocks: Sequence[keras.layers.Layer],
    pooler: keras.layers.Layer | None,
    *,
    pairs: bool,
) -> Callable[[Mapping[str, tf.Tensor]], tf.Tensor]:
    """The network from token ids to pooled vectors as a function for a `tf.function` to trace.

    Args:
        encoder, config, extra_blocks, pooler: Layers below a head, and the encoder's config. Their dtype policy says in which
            precision the matrix products run. Softmax, norms and the residual stream stay float32.
        pairs: Whether texts are pairs, whose second text is another segment.

    Returns:
        A function from `token_ids`, `padding_mask` and `segment_ids`, each (B, T), to (B, D), equal to what the layers
        give up to rounding for rows that hold at least one token; without pooling to (B, T, D).

    Example:
        >>> ids = classifier.tokenizer.tokenize(tf.constant(["a good film", "dull"]))
        >>> network = inference_network(classifier.encoder, classifier.config, [], classifier.pooler, pairs=False)
        >>> network(classifier.preprocessor.pack(ids)).shape
        TensorShape([2, ...])
    """
    stack = stack_of(encoder, config)
    layers = [*stack.blocks, *extra_blocks]
    plain_blocks = _plain_blocks(layers)
    only_first = isinstance(pooler, CLSPooling)

    def network(inputs: Mapping[str, tf.Tensor]) -> tf.Tensor:
        token_ids, mask = inputs["token_ids"], inputs["padding_mask"]
        # Single texts are segment 0 throughout: one row of the table, not a lookup for each token.
        segments = inputs["segment_ids"] if config.num_segments > 1 and pairs else None
        shape = tf.unstack(tf.shape(token_ids))
        x = tf.cast(stack.embeddings(token_ids, segment_ids=segments), tf.float32)
        x = tf.reshape(x, [-1, config.hidden_dim])
        own_bias = None
        if stack.position_bias is not None:
            own_bias = tf.cast(stack.position_bias(token_ids), tf.float32)
        hidden = (1.0 - tf.cast(mask, tf.float32))[:, tf.newaxis, tf.newaxis] * -1e9
        bias = hidden if own_bias is None else hidden + own_bias
        for number, (block, plain) in enumerate(zip(layers, plain_blocks, strict=True)):
            if number == config.num_layers:
                # From here on blocks are the task's own, to which the encoder's bias is not given (`EncoderNetwork.token_vectors`).
                bias, own_bias = hidden, None
                x = x if stack.final_norm is None else tf.cast(stack.final_norm(x), tf.float32)
            if plain is not None:
                x = plain(x, bias, shape, only_first and number == len(layers) - 1)
            else:
                x = _as_layer(block, x, mask, own_bias, shape)
        first_only = only_first and plain_blocks[-1] is not None
        if stack.final_norm is not None and len(layers) == config.num_layers:
            x = tf.cast(stack.final_norm(x), tf.float32)
        x = tf.reshape(x, tf.stack([shape[0], 1 if first_only else shape[1], config.hidden_dim]))
        return x if pooler is None else pooler(x, padding_mask=None if first_only else mask)

    return network


def _as_layer(block: Any, x: tf.Tensor, mask: tf.Tensor, bias: tf.Tensor | None, shape: Sequence) -> tf.Tensor:
    width = x.shape[-1]
    options = {} if bias is None else {"attention_bias": bias}
    y = block(tf.reshape(x, tf.stack([*shape, width])), padding_mask=mask, **options)
    return tf.reshape(tf.cast(y, tf.float32), [-1, width])


def _plain_blocks(layers: Sequence[Any]) -> list["PlainBlock | None"]:
    """For each layer its faster form, one for each distinct layer; None where it has none."""
    distinct = {id(layer): layer for layer in layers}
    size = sum(math.prod(weight.shape) * 4 for layer in distinct.values() for weight in layer.weights)
    small = size <= _MOST_CONSTANT_BYTES
    plain = {key: PlainBlock(layer) if small and is_plain(layer) else None for key, layer in distinct.items()}
    return [plain[id(layer)] for layer in layers]


def is_plain(block: Any) -> bool:
    """Return whether `PlainBlock` computes a block: an `EncoderBlock` with plain attention and the weights expected."""
    if type(block) is not EncoderBlock:
        return False
    attention, inner = block.attention, block.feed_forward
    if not attention.scale or attention.position is not None or attention.num_key_value_heads != attention.num_heads:
        return False
    if attention.qkv_bias != attention.use_bias:
        return False
    parts = ["attention/query", "attention/key", "attention/value", "attention/output"]
    parts += ["feed_forward/intermediate", "feed_forward/output", *(["feed_forward/gate"] if inner.gated else [])]
    kinds = ("kernel", "bias") if attention.use_bias else ("kernel",)
    expected = {f"{part}/{kind}" for part in parts for kind in kinds}
    expected |= {f"{norm}/{kind}" for norm in _NORMS for kind in ("gamma", "beta")}
    return set(_weights(block)) == expected


class PlainBlock:
    """One encoder block on (B*T, D) rows; see `EncoderBlock` for what it computes.

    Args:
        block: A block for which `is_plain` holds. Its weights are read once, here.
    """

    def __init__(self, block: EncoderBlock) -> None:
        self._weights = _weights(block)
        self._dtype = block.compute_dtype
        self._heads, self._width = block.attention.num_heads, block.attention.head_dim
        self._pre_norm, self._epsilon = block.normalize_first, block.layer_norm_epsilon
        self._activate = _ACTIVATIONS[block.feed_forward.activation]
        self._gated = block.feed_forward.gated

    def __call__(self, x: tf.Tensor, bias: tf.Tensor, shape: Sequence, only_first: bool) -> tf.Tensor:
        """The block's output for rows x.

        Args:
            x: Rows (B*T, D), float32.
            bias: Broadcastable to (B, N, T, T) float32: minus a lot at padding.
            shape: B and T.
            only_first: Whether to compute the first token of each text alone.

        Returns:
            (B*T, D) float32; with `only_first` (B, D).
        """
        normal = self._norm("attention_norm", x) if self._pre_norm else x
        rows = tf.cast(normal, self._dtype)
        if only_first:
            x, first = _first(x, shape), _first(rows, shape)
            (query,) = self._heads_of(first, ("query",), [shape[0], 1])
            key, value = self._heads_of(rows, ("key", "value"), shape)
            bias = bias[:, :, :1]
        else:
            query, key, value = self._heads_of(rows, ("query", "key", "value"), shape)
        scores = tf.matmul(query, key, transpose_b=True) * tf.constant(1 / math.sqrt(self._width), self._dtype)
        scores = tf.cast(tf.nn.softmax(tf.cast(scores, tf.float32) + bias), self._dtype)
        mixed = tf.transpose(tf.matmul(scores, value), [0, 2, 1, 3])
        mixed = tf.reshape(mixed, [-1, self._heads * self._width])
        x = x + tf.cast(self._project(mixed, "attention/output"), tf.float32)
        x = x if self._pre_norm else self._norm("attention_norm", x)
        x = x + tf.cast(self._feed_forward(self._norm("feed_forward_norm", x) if self._pre_norm else x), tf.float32)
        return x if self._pre_norm else self._norm("feed_forward_norm", x)

    def _heads_of(self, rows: tf.Tensor, names: Sequence[str], shape: Sequence) -> list[tf.Tensor]:
        """Some of query, key and value, each (B, N, T, H), from one matrix product."""
        joined = self._project(rows, *(f"attention/{name}" for name in names))
        joined = tf.reshape(joined, tf.stack([*shape, len(names), self._heads, self._width]))
        return tf.unstack(tf.transpose(joined, [2, 0, 3, 1, 4]), len(names))

    def _feed_forward(self, x: tf.Tensor) -> tf.Tensor:
        rows = tf.cast(x, self._dtype)
        if self._gated:
            inner = self._activate(self._project(rows, "feed_forward/gate"))
            inner = inner * self._project(rows, "feed_forward/intermediate")
        else:
            inner = self._activate(self._project(rows, "feed_forward/intermediate"))
        return self._project(inner, "feed_forward/output")

    def _project(self, rows: tf.Tensor, *parts: str) -> tf.Tensor:
        y = tf.matmul(rows, self._constant("kernel", parts))
        return y if f"{parts[0]}/bias" not in self._weights else tf.nn.bias_add(y, self._constant("bias", parts))

    def _constant(self, kind: str, parts: Sequence[str]) -> tf.Tensor:
        joined = np.concatenate([self._weights[f"{part}/{kind}"] for part in parts], axis=-1)
        return tf.constant(joined.astype(tf.as_dtype(self._dtype).as_numpy_dtype))

    def _norm(self, name: str, x: tf.Tensor) -> tf.Tensor:
        # Not `tf.nn.batch_normalization`: TensorFlow's rewriter takes that form of a layer norm for one with
        # its own epsilon, .001, and changes the result.
        gamma, beta = self._weights[f"{name}/gamma"], self._weights[f"{name}/beta"]
        centred = x - tf.reduce_mean(x, axis=1, keepdims=True)
        variance = tf.reduce_mean(tf.square(centred), axis=1, keepdims=True)
        return centred * tf.math.rsqrt(variance + self._epsilon) * gamma + beta


def _first(rows: tf.Tensor, shape: Sequence) -> tf.Tensor:
    """(B*T, D) -> (B, D): the first token of each text."""
    return tf.reshape(rows, tf.stack([*shape, rows.shape[-1]]))[:, 0]


def _weights(block: keras.layers.Layer) -> dict[str, np.ndarray]:
    """The block's weights by their address inside it, as float32."""
    found = {name.split("/", 1)[1]: np.asarray(variable, "float32") for name, variable in addresses(block).items()}
    # What changes a projection, as LoRA does, belongs to its kernel and bias here.
    for name, projection in sublayers_of(block, Projection).items():
        if projection.delta is None:
            continue
        target = name.split("/", 1)[1]
        own = f"{target}/{projection.delta.name}/"
        found = {name: value for name, value in found.items() if not name.startswith(own)}
        if not projection.delta.merged:
            kernel, bias = projection.delta.fold(found[f"{target}/kernel"], found.get(f"{target}/bias"))
            found[f"{target}/kernel"] = kernel.astype("float32")
            if bias is not None:
                found[f"{target}/bias"] = bias.astype("float32")
    return found
