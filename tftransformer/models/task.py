"""What a task says of itself to the floors below `tasks`; a plain Keras model is none, and says nothing."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar, TypeVar

import keras

from tftransformer.config import TransformerConfig


class Task(keras.Model):
    """What every task is: `isinstance(model, Task)` tells one from another Keras model.

    Attributes:
        config: Of the encoder.
        encoder: Of `build_encoder`.
        extra_blocks: Transformer blocks of the task's own above the encoder.
        pooler: Makes one vector of a text's many.
        head: From that vector to the output.
        tokenizer: Text to ids.
        methods: Fine-tuning methods that `compile` and `fit` have to know of.
        fresh: Patterns of the addresses of weights that no checkpoint filled: they train at a higher rate.
        advice: What the makers of the preset found to work, such as `learning_rate`.
        load_summary: What `from_preset` loaded and what starts fresh; None where nothing was loaded.
        labels: Names of the classes of a classifier's one head; none where there is no such head, or several.
        multi_label: Whether a text may have any number of these.
        threshold: Of `multi_label`: the probability from which on a label is predicted.
        in_chunks: Whether the encoder reads a text in several rows.
        tasks: The tasks of a model of several, by name.
    """

    config: TransformerConfig
    encoder: keras.Model
    extra_blocks: Sequence[keras.layers.Layer]
    pooler: keras.layers.Layer
    head: keras.layers.Layer
    tokenizer: Any  # a `text.base.Tokenizer`, which is on this floor
    methods: Any
    fresh: tuple[str, ...] = ()
    advice: Mapping[str, Any] = MappingProxyType({})
    load_summary: Any = None
    labels: Sequence[str] = ()
    multi_label: bool = False
    threshold: float = 0.5
    in_chunks: ClassVar[bool] = False
    tasks: Mapping[str, Any] = MappingProxyType({})


AnyTask = TypeVar("AnyTask", bound=Task)
