"""Tasks on a pretrained encoder: blocks of their own, pooling and a head above it; from presets, to folders."""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar, Self

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from tftransformer import patterns
from tftransformer.checkpoints.preset import POOLINGS, Preset
from tftransformer.checkpoints.presets import load_preset
from tftransformer.config import TransformerConfig
from tftransformer.data.packed_batches import PLACES, ROWS
from tftransformer.errors import TransformerError, check_choice, near_miss
from tftransformer.export.inference_graph import inference_network
from tftransformer.export.serving import Serving
from tftransformer.finetuning.frozen_part import POOLED, FrozenPart, find_frozen_part
from tftransformer.finetuning.recipe import complete_advice
from tftransformer.finetuning.structure import replay_modifications, structure_of
from tftransformer.layers.pooling import CLSPooling, MaxPooling, MeanPooling
from tftransformer.layers.taps import tap
from tftransformer.models.blocks import build_encoder_block
from tftransformer.models.encoder import build_encoder
from tftransformer.models.families import FAMILIES
from tftransformer.models.task import Task
from tftransformer.models.walk import EncoderStack, stack_of, walk
from tftransformer.objectives.objective import Objective
from tftransformer.preprocessing.datasets import texts_alone
from tftransformer.preprocessing.text import TextPreprocessor
from tftransformer.tasks.saved import FORMATS, SavedTask
from tftransformer.text.base import Tokenizer
from tftransformer.text.spec import TokenizerSpec

_POOLING = {"cls": CLSPooling, "mean": MeanPooling, "max": MaxPooling}


class EncoderTask(SavedTask):
    """A task on an encoder, fresh blocks above it and pooling: its head reads one vector (B, D) a text, or one a token.

    Subclasses bring the head (`add_head`), the objective, and what else a folder is to hold of them.

    Args:
        config: Sizes and choices of the encoder.
        tokenizer: Text to ids; its vocabulary fits `config.vocabulary_size`.
        objective: What the output means; its settings are the task's to save.
        preprocessor: Makes the preprocessor of tokenizer and sequence length.
        pooling, pooler, extra_blocks, head_dropout: As for `TextClassifier`. Without pooling, None, the head reads the
            vector of each token.
        sequence_length: Longest sequence in tokens. None: the encoder's `max_sequence_length`.
        seed: Random seed of the order of the training examples.
        dtype: Keras dtype policy. None: the global one.
        name: Name of the Keras model.

    Raises:
        TransformerError: A length that the encoder cannot take, a vocabulary of another size, or unknown pooling.

    Example:
        >>> class Grades(tt.objectives.Objective):
        ...     def encode(self, targets):
        ...         return tt.data.Values(np.asarray(targets, "float32"))
        >>> class Rater(EncoderTask):
        ...     def __init__(self, config, tokenizer, **options):
        ...         super().__init__(config, tokenizer, objective=Grades(), **options)
        ...         self.add_head(keras.layers.Dense(1, name="head"))
        >>> rater = Rater.from_preset("bert_12x192_en_uncased")
        >>> rater.compile("adam", "mse")
        >>> history = rater.fit(["no refund", "quick and kind"], [1.0, 5.0], verbose=0)
        >>> rater.predict(["too late"], verbose=0).shape
        (1, 1)
    """

    # Settings of a preset that a new task on its encoder takes over.
    kept_settings: ClassVar[tuple[str, ...]] = ("pooler", "extra_blocks", "sequence_length", "head_dropout")
    # Addresses that may start from random numbers when a preset's weights are loaded: they belong to the task.
    own_weights: ClassVar[tuple[str, ...]] = ("head/.*", r"extra_block_\d+/.*", "pooler/.*")

    def __init__(
        self,
        config: TransformerConfig | dict,
        tokenizer: Tokenizer | dict,
        *,
        objective: Objective | None = None,
        preprocessor: Callable[[Tokenizer, int], TextPreprocessor] = TextPreprocessor,
        pooling: str | None = "cls",
        pooler: bool = True,
        extra_blocks: int = 0,
        head_dropout: float = 0.1,
        sequence_length: int | None = None,
        seed: int = 0,
        dtype: Any = None,
        name: str | None = None,
    ) -> None:
        config = TransformerConfig.from_dict(config) if isinstance(config, dict) else config
        if isinstance(tokenizer, dict):
            tokenizer = TokenizerSpec.from_config(tokenizer).build()
        _check_arguments(config, tokenizer, pooling, extra_blocks, sequence_length)
        length = sequence_length or config.max_sequence_length
        made = preprocessor(tokenizer, length)
        super().__init__(made, objective=objective, seed=seed, dtype=dtype, name=name)
        self.config = config
        self.pooling = pooling
        self.with_pooler = pooling == "cls" and pooler
        self.head_dropout = head_dropout
        self.load_summary = None
        # What the makers of the preset found to work: `learning_rate`, `frozen_learning_rate`, `epochs`.
        self.advice: dict[str, Any] = complete_advice({}, config.hidden_dim)
        # Addresses of weights that no checkpoint filled: they train at a higher rate.
        self.fresh: tuple[str, ...] = (".*",)
        policy = self.dtype_policy
        self.encoder = build_encoder(config, dtype=policy)
        self.extra_blocks = [build_encoder_block(config, f"extra_block_{i}", policy) for i in range(extra_blocks)]
        self.pooler = self._build_pooler()
        for layer in (*self.extra_blocks, *([] if self.pooler is None else [self.pooler])):
            layer.build((None, None, config.hidden_dim))

    def _build_pooler(self) -> keras.layers.Layer | None:
        if self.pooling is None:
            return None
        options: dict[str, Any] = {}
        if self.pooling == "cls":
            family = FAMILIES[self.config.family]
            dropout = self.head_dropout if family.pooler_dropout else 0.0
            options = {"dense": self.with_pooler, "activation": family.pooler_activation, "dropout": dropout}
        return _POOLING[self.pooling](**options, dtype=self.dtype_policy, name="pooler")

    def add_head(self, head: keras.layers.Layer) -> None:
        """Build the head, from what the pooling gives to the task's output, with which the model is complete."""
        self.head = head
        head.build((None, *([None] if self.pooling is None else []), self.config.hidden_dim))
        self.built = True

    # The network.

    def call(self, inputs: dict, training: bool | None = None) -> Any:
        return self.head(self.pooled(inputs, training), training=training)

    def pooled(self, inputs: dict, training: bool | None = None) -> Any:
        """The vectors (B, D) that the head sees, of integer inputs; (B, T, D) without pooling."""
        # A frozen encoder's vectors may have been stored.
        return inputs[POOLED] if POOLED in inputs else pooled_vectors(self, inputs, training)

    @property
    def is_plain(self) -> bool:
        """Whether texts go through encoder, blocks, pooling and head as here; not where a subclass has a way of its own."""
        return (type(self).call, type(self).pooled) == (EncoderTask.call, EncoderTask.pooled)

    def frozen_part(self) -> FrozenPart | None:
        if not self.is_plain:
            return None
        return find_frozen_part(self.encoder, self.config, self.pooler, len(self.extra_blocks))

    # What the head sees.

    def encode(self, texts: Any, batch_size: int | None = None) -> np.ndarray:
        """A vector for each text, where there is pooling: what the pooling gives and the head sees; for search, clusters and plots.

        Before any training on sentences these are the encoder's pooled vectors; fine-tuned, they are bent to the task.

        Args:
            texts: In any form that `predict` takes; labels are not looked at.
            batch_size: Rows a batch; None: as `predict`.

        Returns:
            (B, D) float32, D the encoder's `hidden_dim`, in the order of the texts; (0, D) for no texts.

        Example:
            >>> classifier.encode(["no refund", "late again"]).shape
            (2, ...)
        """
        if self.pooling is None:
            raise TransformerError(f"encode gives a vector for each text, which a {type(self).__name__} has not")
        return self.encode_batches(*self.inference_batches(texts_alone(texts), None, None, batch_size, {}))

    def encode_batches(self, batches: tf.data.Dataset | None, inverse: np.ndarray | None = None) -> np.ndarray:
        """`encode` of batches of what the network is given; `inverse` puts their rows in order."""
        vectors = _vectors_below_head(self, batches)
        return vectors if inverse is None else vectors[inverse]

    # From a preset, and to a folder.

    @classmethod
    def from_preset(cls, preset: str | os.PathLike | Preset, *, load_weights: bool = True, **options: Any) -> Self:
        """The task on the encoder of a preset, with its head where the preset was saved from this class.

        Args:
            preset: As for `TextClassifier.from_preset`.
            load_weights: False builds the same network from random numbers.
            options: Arguments of the constructor, which take the place of the preset's, and `dropout`, the rate inside
                the encoder.

        Raises:
            TransformerError: The preset is unknown, broken or of another family.
        """
        found = preset if isinstance(preset, Preset) else load_preset(preset)
        same = found.class_name == keras.saving.get_registered_name(cls)
        fresh = () if same else ("head/.*",)
        return cls._on_preset(found, options, kept=cls.kept_settings, fresh=fresh, load_weights=load_weights)

    @classmethod
    def _on_preset(
        cls, found: Preset, options: dict[str, Any], *, kept: Iterable[str], fresh: Sequence[str], load_weights: bool
    ) -> Self:
        """The task on a preset's encoder.

        Args:
            found: The preset.
            options: Arguments of the constructor and `dropout`.
            kept: Names of the preset's settings that hold here, too.
            fresh: Patterns of weights that start from random numbers even where the preset has some.
            load_weights: Whether to load any.
        """
        if not found.has_encoder:
            raise TransformerError(f"a {cls.__name__} needs a preset with an encoder; {found.name} holds a decoder")
        config = found.config
        if (dropout := options.pop("dropout", None)) is not None:
            config = config.replace(dropout=dropout, attention_dropout=dropout)
        stated = {"pooler": found.pooler, **found.task, **found.head}
        saved = {name: stated[name] for name in kept if name in stated}
        task = cls(config, found.tokenizer.build(), **{"pooling": found.pooling, **saved, **options})
        task.advice = complete_advice(found.task.get("advice", {}), config.hidden_dim)
        replay_modifications(task, found.modifications, head="head/.*" not in fresh)
        if load_weights:
            task.load_summary = found.load_into(task, optional=cls.own_weights, fresh=fresh)
            task.fresh = tuple(task.load_summary.fresh)
        return task

    def save_to_preset(
        self,
        folder: str | os.PathLike,
        *,
        format: str = "tftransformer",
        head: bool = True,
        dtype: str | None = None,
        overwrite: bool = False,
    ) -> None:
        """Write a folder that `from_preset` reads: weights, tokenizer and settings.

        Args:
            folder: Where to; appears whole or not at all.
            format: "tftransformer", or "huggingface" for a folder that transformers loads.
            head: False leaves the head, and what is known of it, out, so that an encoder remains.
            dtype: Dtype of the stored weights, such as "float16". None: as they are, bit by bit.
            overwrite: Replace a folder that holds files.

        Raises:
            TransformerError: The folder holds files, or the format is unknown or cannot express this task.

        Example:
            >>> classifier.save_to_preset("models/tickets")
        """
        check_choice("format", format, FORMATS)
        contents = self.preset_contents()
        if head:
            contents |= self.head_contents()
        else:
            contents["variables"] = {n: v for n, v in contents["variables"].items() if not n.startswith("head/")}
        if format == "tftransformer":
            self._save(folder, contents, whole=head, dtype=dtype, overwrite=overwrite)
            return
        self._save_huggingface(folder, contents, dtype=dtype, overwrite=overwrite)

    def serving(self, computed: "EncoderTask | None" = None) -> Serving:
        signature = self.objective.signature(
            inputs=self.preprocessor.names,
            sequence_length=self.preprocessor.pack.sequence_length,
            prepare=self.preprocessor.graph,
            network=(self if computed is None else computed).served_network(),
            layers=lambda inputs: self(inputs, training=False),
        )
        return Serving({"serving_default": signature}, self.objective.labels or None)

    def served_network(self) -> Callable[[Mapping[str, tf.Tensor]], tf.Tensor]:
        """From integer inputs to the output, in the form that a server runs fastest."""
        pooled = inference_network(self, pairs=bool(self.text_pairs))
        return lambda inputs: self.head(pooled(inputs))

    def head_contents(self) -> dict[str, Any]:
        """Return what a folder holds of the head, beside its weights: arguments of the functions that write one."""
        return {}

    def preset_contents(self) -> dict[str, Any]:
        """What every format of a folder holds of it: arguments of the functions that write one."""
        return {
            "config": self.config,
            "tokenizer": self.tokenizer,
            "variables": patterns.addresses(self),
            **({} if self.pooling is None else {"pooling": self.pooling}),
        }

    def task_settings(self) -> dict:
        """What a preset stores about the network and its inputs."""
        return {
            "pooler": self.with_pooler,
            "extra_blocks": len(self.extra_blocks),
            "sequence_length": self.sequence_length,
        }

    # Keras's own files.

    def get_config(self) -> dict:
        return {
            "config": self.config.to_dict(),
            "tokenizer": self.tokenizer.spec().to_config(),
            "pooling": self.pooling,
            "head_dropout": self.head_dropout,
            **self.task_settings(),
            "seed": self.seed,
            **structure_of(self),
            "dtype": keras.saving.serialize_keras_object(self.dtype_policy),
            "name": self.name,
        }


def pooled_vectors(task: Task, inputs: dict, training: bool | None = None) -> Any:
    """The pooled vectors (B, D) of texts; those of their tokens, (B, T, D), where there is no pooling.

    Args:
        task: Has `config`, `encoder`, `extra_blocks` and `pooler`.
        inputs: Integers, as `preprocess` and `data.pipeline` make them; packed rows, too.
        training: As for a Keras model.
    """
    x = token_vectors(task, inputs, training)
    if task.pooler is None:
        return x
    # Keras hands `training` on to what is called inside a call.
    return tap("pooled", task.pooler(x, padding_mask=inputs["padding_mask"]))


def token_vectors(task: Task, inputs: dict, training: bool | None = None) -> Any:
    """The vectors (B, T, D) of each text's tokens, below the pooling; arguments as of `pooled_vectors`.

    What stands at padding means nothing.
    """
    stack = stack_of(task.encoder, task.config)
    x = _texts_of_rows(stack, inputs, training) if PLACES in inputs else walk(stack, inputs, training=training)
    for block in task.extra_blocks:
        x = block(x, padding_mask=inputs["padding_mask"], training=training)
    return x


def _texts_of_rows(stack: EncoderStack, inputs: Mapping[str, Any], training: bool | None) -> Any:
    """(B, L, D): what the encoder gives for each text of a packed batch, as if it stood in a row of its own.

    At padding there is the vector of some other token, which nobody may look at.
    """
    rows = {name: inputs[name] for name in ROWS}
    x = walk(stack, {**rows, "padding_mask": ops.cast(rows["text_numbers"] > 0, "int32")}, training=training)
    return ops.take(ops.reshape(x, (-1, x.shape[-1])), inputs[PLACES], axis=0)


# Sentence vectors: what a head sees of each text.

# Fewer batches than these are run before a graph of the encoder would be traced.
_EAGER_BATCHES = 4


class _BelowTheHead(keras.Model):
    """A task without its head, as a model of its own.

    So `predict` runs with compiled functions that belong to it alone: those of the task stay what they were,
    and none of an earlier call can be out of date.
    """

    def __init__(self, task: EncoderTask) -> None:
        super().__init__(name="below_the_head", dtype=task.dtype_policy)
        self.task = task
        self.built = True

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        return ops.cast(self.task.pooled(inputs, training), "float32")


def _vectors_below_head(task: EncoderTask, batches: tf.data.Dataset | None) -> np.ndarray:
    """The vectors (B, D) that a task's head sees, in the order of the batches; None is no batches."""
    if batches is None:
        return np.zeros((0, task.config.hidden_dim), "float32")
    with task.distribute_strategy.scope():
        model = _BelowTheHead(task)
        few = 0 <= int(batches.cardinality()) <= _EAGER_BATCHES
        eager = few and task.distribute_strategy.num_replicas_in_sync == 1
        model.compile(jit_compile=task.jit_compile and not eager, run_eagerly=eager)
    return model.predict(batches, verbose=0)


def _check_arguments(
    config: TransformerConfig, tokenizer: Tokenizer, pooling: str, extra_blocks: int, sequence_length: int | None
) -> None:
    if pooling is not None and pooling not in POOLINGS:
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
