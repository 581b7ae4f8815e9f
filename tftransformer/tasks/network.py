"""The network of a task below its head: its layers, and the way of integer inputs through them."""

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from tftransformer.checkpoints.preset import POOLINGS
from tftransformer.config import TransformerConfig
from tftransformer.data.packed_batches import PLACES, ROWS
from tftransformer.errors import TransformerError, near_miss
from tftransformer.export.inference_graph import inference_network
from tftransformer.finetuning.frozen_part import POOLED, FrozenPart, find_frozen_part
from tftransformer.layers.pooling import CLSPooling, MaxPooling, MeanPooling
from tftransformer.layers.taps import tap
from tftransformer.models.blocks import build_encoder_block
from tftransformer.models.encoder import build_encoder
from tftransformer.models.families import FAMILIES
from tftransformer.models.walk import EncoderStack, stack_of, walk

_POOLING = {"cls": CLSPooling, "mean": MeanPooling, "max": MaxPooling}


class Network:
    """All that a task computes below its head; a subclass has the layers and is called on integer inputs.

    It is no layer itself: a task takes its layers as attributes, so that their addresses begin with their own names.

    Attributes:
        config: Sizes and choices of the encoder.
        layers: Layers, and lists of layers, by the names of the task's attributes that hold them.
        pooling: Name of the pooling by which a text has one vector; None where it gives one a token.
        width: D, the width of the vectors that it gives; the config's `hidden_dim` by default.
    """

    config: TransformerConfig
    pooling: str | None = None

    @property
    def layers(self) -> dict[str, Any]:
        raise NotImplementedError

    @property
    def width(self) -> int:
        return self.config.hidden_dim

    def __call__(self, inputs: Mapping[str, Any], training: bool | None = None) -> Any:
        """Return the vectors (B, D) that the head sees, of integer inputs; (B, T, D) without pooling."""
        raise NotImplementedError

    def served(self, pairs: bool) -> Callable[[Mapping[str, tf.Tensor]], tf.Tensor]:
        """Return the same as a function of integer inputs, in the form that a server runs fastest.

        Args:
            pairs: Whether texts are pairs, whose second text is another segment.
        """
        return lambda inputs: self(inputs, training=False)

    def frozen_part(self) -> FrozenPart | None:
        """Return the part whose outputs stay the same in every epoch; None where there is none."""
        return None

    def settings(self) -> dict[str, Any]:
        """Return those of its arguments that a preset stores among the settings of a task, as JSON values."""
        return {}

    def get_config(self) -> dict[str, Any]:
        """Return all of its arguments but the config, as JSON values."""
        return self.settings()


class EncoderNetwork(Network):
    """An encoder, fresh blocks above it, and pooling to one vector (B, D) a text; without pooling one a token.

    A subclass that puts something between the encoder and the pooling overrides `served` and `frozen_part`, too.

    Args:
        config: Sizes and choices of the encoder.
        pooling, pooler, extra_blocks, head_dropout: As for `TextClassifier`. Without pooling, None, the head reads the
            vector of each token.
        dtype: Keras dtype policy of the layers. None: the global one.

    Raises:
        TransformerError: Unknown pooling, or a number of blocks that cannot be.

    Example:
        >>> config = tt.TransformerConfig("bert", vocabulary_size=50, num_layers=1, hidden_dim=16, num_heads=2,
        ...                               intermediate_dim=32, max_sequence_length=8)
        >>> network = EncoderNetwork(config, pooling="mean")
        >>> ids = np.ones((2, 5), "int32")
        >>> network({"token_ids": ids, "segment_ids": 0 * ids, "padding_mask": ids}).shape
        TensorShape([2, 16])
    """

    # Addresses that may start from random numbers when a preset's weights are loaded: they belong to the task.
    own_weights: ClassVar[tuple[str, ...]] = ("head/.*", r"extra_block_\d+/.*", "pooler/.*")

    def __init__(
        self,
        config: TransformerConfig,
        *,
        pooling: str | None = "cls",
        pooler: bool = True,
        extra_blocks: int = 0,
        head_dropout: float = 0.1,
        dtype: Any = None,
    ) -> None:
        if pooling is not None and pooling not in POOLINGS:
            raise TransformerError(
                f"pooling must be one of {', '.join(POOLINGS)}; got {pooling!r}{near_miss(pooling, POOLINGS)}"
            )
        if isinstance(extra_blocks, bool) or not isinstance(extra_blocks, int) or extra_blocks < 0:
            raise TransformerError(f"extra_blocks must be 0 or a positive integer; got {extra_blocks!r}")
        self.config = config
        self.pooling = pooling
        self.with_pooler = pooling == "cls" and pooler
        self.head_dropout = head_dropout
        self.encoder = build_encoder(config, dtype=dtype)
        self.extra_blocks = [build_encoder_block(config, f"extra_block_{i}", dtype) for i in range(extra_blocks)]
        self.pooler = self._build_pooler(dtype)
        for layer in (*self.extra_blocks, *([] if self.pooler is None else [self.pooler])):
            layer.build((None, None, config.hidden_dim))

    def _build_pooler(self, dtype: Any) -> keras.layers.Layer | None:
        if self.pooling is None:
            return None
        options: dict[str, Any] = {}
        if self.pooling == "cls":
            family = FAMILIES[self.config.family]
            dropout = self.head_dropout if family.pooler_dropout else 0.0
            options = {"dense": self.with_pooler, "activation": family.pooler_activation, "dropout": dropout}
        return _POOLING[self.pooling](**options, dtype=dtype, name="pooler")

    @property
    def layers(self) -> dict[str, Any]:
        return {"encoder": self.encoder, "extra_blocks": self.extra_blocks, "pooler": self.pooler}

    # The way through it.

    def __call__(self, inputs: Mapping[str, Any], training: bool | None = None) -> Any:
        if POOLED in inputs:  # a frozen encoder's vectors, which were stored
            return inputs[POOLED]
        x = self.token_vectors(inputs, training)
        if self.pooler is None:
            return x
        # Keras hands `training` on to what is called inside a call.
        return tap("pooled", self.pooler(x, padding_mask=inputs["padding_mask"]))

    def token_vectors(self, inputs: Mapping[str, Any], training: bool | None = None) -> Any:
        """Return the vectors (B, T, D) of each text's tokens, below the pooling, of integer inputs; of packed rows, too.

        Values at padded positions have no meaning.
        """
        stack = stack_of(self.encoder, self.config)
        x = _texts_of_rows(stack, inputs, training) if PLACES in inputs else walk(stack, inputs, training=training)
        for block in self.extra_blocks:
            x = block(x, padding_mask=inputs["padding_mask"], training=training)
        return x

    def served(self, pairs: bool) -> Callable[[Mapping[str, tf.Tensor]], tf.Tensor]:
        return inference_network(self.encoder, self.config, self.extra_blocks, self.pooler, pairs=pairs)

    def frozen_part(self) -> FrozenPart | None:
        return find_frozen_part(self.encoder, self.config, self.pooler, len(self.extra_blocks))

    # Its arguments.

    def settings(self) -> dict[str, Any]:
        return {"pooler": self.with_pooler, "extra_blocks": len(self.extra_blocks)}

    def get_config(self) -> dict[str, Any]:
        return {"pooling": self.pooling, "head_dropout": self.head_dropout, **self.settings()}


def _texts_of_rows(stack: EncoderStack, inputs: Mapping[str, Any], training: bool | None) -> Any:
    """(B, L, D): what the encoder gives for each text of a packed batch, as if it stood in a row of its own.

    At padding there is the vector of some other token, which nobody may look at.
    """
    rows = {name: inputs[name] for name in ROWS}
    x = walk(stack, {**rows, "padding_mask": ops.cast(rows["sequence_ids"] > 0, "int32")}, training=training)
    return ops.take(ops.reshape(x, (-1, x.shape[-1])), inputs[PLACES], axis=0)


# Sentence vectors: what a head sees of each text.

# Fewer batches than these are run before a graph of the encoder would be traced.
_EAGER_BATCHES = 4


class _BelowTheHead(keras.Model):
    """A task without its head, as a model of its own.

    So `predict` runs with compiled functions that belong to it alone: those of the task stay what they were,
    and none of an earlier call can be out of date.
    """

    def __init__(self, task: Any) -> None:
        super().__init__(name="below_the_head", dtype=task.dtype_policy)
        self.task = task
        self.built = True

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        return ops.cast(self.task.pooled(inputs, training), "float32")


def vectors_below_head(task: Any, batches: tf.data.Dataset | None) -> np.ndarray:
    """Return the vectors (B, D) that a task's head sees, in the order of the batches; None is no batches."""
    if batches is None:
        return np.zeros((0, task.network.width), "float32")
    with task.distribute_strategy.scope():
        model = _BelowTheHead(task)
        few = 0 <= int(batches.cardinality()) <= _EAGER_BATCHES
        eager = few and task.distribute_strategy.num_replicas_in_sync == 1
        model.compile(jit_compile=task.jit_compile and not eager, run_eagerly=eager)
    return model.predict(batches, verbose=0)
