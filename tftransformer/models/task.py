"""Interface of a task for lower packages; a plain Keras model has none of it."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar, TypeVar

import keras

from tftransformer.config import TransformerConfig


class Task(keras.Model):
    """Base class of all tasks: `isinstance(model, Task)` tells one from another Keras model.

    Attributes:
        config: Config of the encoder.
        encoder: Model of `build_encoder`.
        extra_blocks: Transformer blocks of the task's own above the encoder.
        pooler: Layer from the vectors of a text's tokens to one vector.
        head: Layer from that vector to the output; None where the network gives the output.
        tokenizer: Tokenizer of its texts.
        methods: Fine-tuning methods that `compile` and `fit` have to know of.
        method_rate: Highest learning rate that the methods applied want; None where they leave it to `recommended_hparams`.
        newly_initialized: Patterns of the addresses of weights that no checkpoint filled: they train at a higher rate.
        recommended_hparams: Settings that the makers of the preset found to work, such as `learning_rate`.
        load_summary: Summary of what `from_preset` loaded and what is newly initialized; None where nothing was loaded.
        objective: Object that knows what the output means (an `objectives.Objective`, which is floors above this one).
        in_chunks: Whether the encoder reads a text in several rows.
        tasks: The tasks of a model of several, by name.
    """

    config: TransformerConfig
    encoder: keras.Model
    extra_blocks: Sequence[keras.layers.Layer]
    pooler: keras.layers.Layer
    head: Any = None
    tokenizer: Any  # a `text.base.Tokenizer`, which is on this floor
    methods: Any
    method_rate: float | None = None
    newly_initialized: tuple[str, ...] = ()
    recommended_hparams: Mapping[str, Any] = MappingProxyType({})
    load_summary: Any = None
    objective: Any
    in_chunks: ClassVar[bool] = False
    tasks: Mapping[str, Any] = MappingProxyType({})


AnyTask = TypeVar("AnyTask", bound=Task)
