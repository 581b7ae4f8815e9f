"""Several classification tasks on one encoder, trained together.

Caruana 1997, "Multitask learning"; for BERT-like encoders Liu et al. 2019, "MT-DNN" (arXiv:1901.11504). Each batch
holds rows of one task; how tasks are drawn, and what an epoch is, says `data.task_sampling`.
"""

import os
from collections.abc import Mapping
from typing import Any

import keras
import tensorflow as tf

from tftransformer import patterns
from tftransformer.checkpoints.own import save_preset
from tftransformer.checkpoints.preset import Preset
from tftransformer.checkpoints.presets import load_preset
from tftransformer.config import TransformerConfig
from tftransformer.errors import TransformerError
from tftransformer.export.inference_graph import inference_network
from tftransformer.export.serving import Serving
from tftransformer.finetuning.defaults import complete_advice
from tftransformer.finetuning.frozen_part import POOLED, FrozenPart, find_frozen_part
from tftransformer.finetuning.structure import (
    STRUCTURE,
    describe_modifications,
    replay_modifications,
    restore_structure,
    structure_of,
)
from tftransformer.layers.heads import TaskHeads
from tftransformer.tasks.compilation import classification_defaults, remembered, restore_compilation
from tftransformer.tasks.task_loops import TaskLoops
from tftransformer.tasks.task_objectives import as_tasks, describe_tasks, task_objectives
from tftransformer.tasks.text_classifier import FRESH
from tftransformer.tasks.trunk import build_trunk, check_classifier, run_trunk
from tftransformer.text.base import Tokenizer
from tftransformer.text.spec import TokenizerSpec

_INPUTS = ("token_ids", "padding_mask", "segment_ids")


@keras.saving.register_keras_serializable(package="tftransformer")
class MultiTaskClassifier(TaskLoops):
    """One encoder and a head for each of several tasks, over raw texts or pairs; usually made by `from_preset`.

    Tasks may be single-label or multi-label, of texts or of pairs. Data come as a mapping from task to what
    `TextClassifier` takes; logged values begin with the task's name, as `sst2_accuracy`. Its parts can be used
    alone: `encoder`, `extra_blocks`, `pooler`, `head` (a `TaskHeads`), `tokenizer`, `tasks`. One optimizer updates
    all heads in each step: in batches of other tasks a head's gradient is zero, and Adam's moments fade.

    Args:
        config: Sizes and choices of the encoder.
        tokenizer: Text to ids; its vocabulary fits `config.vocabulary_size`.
        tasks: By name: labels, a `Split` (which says labels, several labels a text, and pairs), or a
            `ClassificationTask`; the names are those of signatures and parts of those of weights.
        pooling, pooler, extra_blocks, head_dropout, sequence_length, seed, dtype: As for `TextClassifier`.

    Raises:
        TransformerError: Names of tasks that clash or are no plain names, and as `TextClassifier`.

    Example:
        >>> tasks = {"sentiment": ["no", "yes"], "topic": ["world", "sports", "business"]}
        >>> model = MultiTaskClassifier.from_preset("bert_12x192_en_uncased", tasks=tasks)
        >>> model.predict(["a late goal"], task="topic", verbose=0).shape
        (1, 3)
    """

    def __init__(
        self,
        config: TransformerConfig | dict,
        tokenizer: Tokenizer | dict,
        tasks: Mapping[str, Any],
        *,
        pooling: str = "cls",
        pooler: bool = True,
        extra_blocks: int = 0,
        head_dropout: float = 0.1,
        sequence_length: int | None = None,
        seed: int = 0,
        dtype: Any = None,
        name: str = "multi_task_classifier",
    ) -> None:
        config = TransformerConfig.from_dict(config) if isinstance(config, dict) else config
        if isinstance(tokenizer, dict):
            tokenizer = TokenizerSpec.from_config(tokenizer).build()
        tasks = as_tasks(tasks)
        check_classifier(config, tokenizer, pooling, extra_blocks, sequence_length)
        longest = sequence_length or config.max_sequence_length
        super().__init__(tokenizer, longest, tasks, seed=seed, dtype=dtype, name=name)
        self.config = config
        self.pooling = pooling
        self.with_pooler = pooling == "cls" and pooler
        self.head_dropout = head_dropout
        self.load_summary = None
        self.advice: dict[str, Any] = complete_advice({}, config.hidden_dim)
        # Addresses of weights that no checkpoint filled: they train at a higher rate.
        self.fresh: tuple[str, ...] = (".*",)
        self.encoder, self.extra_blocks, self.pooler = build_trunk(
            config, pooling=pooling, pooler=pooler, extra_blocks=extra_blocks, head_dropout=head_dropout,
            policy=self.dtype_policy,
        )  # fmt: skip
        counts = {name: len(task.labels) for name, task in tasks.items()}
        self.head = TaskHeads(counts, head_dropout, dtype=self.dtype_policy, name="head")
        self.head.build((None, config.hidden_dim))
        self.built = True

    @classmethod
    def from_preset(
        cls,
        preset: str | os.PathLike | Preset,
        tasks: Mapping[str, Any] | None = None,
        *,
        load_weights: bool = True,
        **options: Any,
    ) -> "MultiTaskClassifier":
        """A multi-task classifier on the encoder of a preset, with the heads of those tasks that it was saved with.

        Args:
            preset: As for `TextClassifier.from_preset`.
            tasks: As for the constructor. None: those of the preset, if it was saved with some.
            load_weights: False builds the same network from random numbers.
            options: Other arguments of the constructor, which take the place of the preset's, and `dropout`, the
                rate inside the encoder.

        Raises:
            TransformerError: The preset is unknown, broken or of another family, or has no tasks.
        """
        found = preset if isinstance(preset, Preset) else load_preset(preset)
        saved = found.task.get("tasks")
        if tasks is None and not saved:
            raise TransformerError(f"tasks must be given: the preset {found.name!r} was not saved with several tasks")
        given = as_tasks(saved if tasks is None else tasks)
        config = found.config
        if (dropout := options.pop("dropout", None)) is not None:
            config = config.replace(dropout=dropout, attention_dropout=dropout)
        kept = ("extra_blocks", "sequence_length", "head_dropout")
        settings = {name: found.task[name] for name in kept if name in found.task}
        pooler = found.task.get("pooler", found.pooler)
        arguments = {"pooling": found.pooling, "pooler": pooler, **settings, **options}
        model = cls(config, found.tokenizer.build(), given, **arguments)
        model.advice = complete_advice(found.task.get("advice", {}), config.hidden_dim)
        replay_modifications(model, found.modifications)
        if load_weights:
            fresh = _heads_not_in(saved, given)
            model.load_summary = found.load_into(model, optional=FRESH, fresh=fresh)
            model.fresh = tuple(model.load_summary.fresh)
        return model

    def call(self, inputs: dict, training: bool | None = None) -> Any:
        pooled = inputs[POOLED] if POOLED in inputs else run_trunk(self, self.config, inputs, training)
        return self.head(pooled, training=training)

    def frozen_part(self) -> FrozenPart | None:
        return find_frozen_part(self.encoder, self.config, self.pooler, len(self.extra_blocks))

    @remembered
    def compile(
        self,
        optimizer: Any = None,
        *,
        loss_weights: Mapping[str, float] | None = None,
        label_smoothing: float = 0.0,
        **options: Any,
    ) -> None:
        """`keras.Model.compile`, with the usual loss and metrics of each task.

        Args:
            optimizer: As for `TextClassifier.compile`; one for all tasks.
            loss_weights: A factor on the losses of some tasks; 1 for the others.
            label_smoothing: Share of each target that is spread over all labels.
            options: As for `TextClassifier.compile`, but for `loss` and `metrics`, which each task has of its own.

        Raises:
            TransformerError: An option is unknown or out of range, or a weight is for no task or not positive.
        """
        for name in ("loss", "metrics", "weighted_metrics"):
            if options.pop(name, None) is not None:
                raise TransformerError(f"compile of several tasks takes no {name}: each task has its own")
        columns = {name: self.columns(name) for name in self.tasks}
        loss, metrics = task_objectives(self.tasks, columns, loss_weights, label_smoothing)
        self._task_of = {metric.name: name for name, own in metrics.items() for metric in own}
        self._objectives = {"loss_weights": dict(loss_weights or {}), "label_smoothing": label_smoothing}
        every = [metric for own in metrics.values() for metric in own]
        super().compile(**classification_defaults(self, optimizer, loss, every, options))

    def get_compile_config(self) -> dict | None:
        if not self.compiled or not self._compile_config:
            return None
        # Loss and metrics follow from the tasks.
        config = self._compile_config.serialize()
        return {name: value for name, value in config.items() if name not in ("loss", "metrics")} | self._objectives

    def compile_from_config(self, config: dict) -> None:
        self.compile(**keras.saving.deserialize_keras_object(config))
        restore_compilation(self)

    def save_to_preset(self, folder: str | os.PathLike, *, dtype: str | None = None, overwrite: bool = False) -> None:
        """Write a folder that `from_preset` reads; `TextClassifier.from_preset` takes its encoder.

        Args:
            folder: Where to; appears whole or not at all.
            dtype: Of the stored weights, such as "float16". None: as they are, bit by bit.
            overwrite: Replace a folder that holds files.

        Raises:
            TransformerError: The folder holds files, or the disk refuses.
        """
        save_preset(
            folder,
            config=self.config,
            tokenizer=self.tokenizer,
            variables=patterns.addresses(self),
            pooling=self.pooling,
            task=self.task_settings(),
            modifications=describe_modifications(self),
            class_name=keras.saving.get_registered_name(type(self)),
            dtype=dtype,
            overwrite=overwrite,
        )

    def serving(self, computed: "MultiTaskClassifier | None" = None) -> Serving:
        """A signature for each task, of the task's name; all call one function for the encoder."""
        computed = self if computed is None else computed
        trunk = inference_network(computed, pairs=any(task.text_pairs for task in self.tasks.values()))
        integers = dict.fromkeys(_INPUTS, tf.TensorSpec([None, None], tf.int32))
        pooled = tf.function(trunk, input_signature=[integers], autograph=False)
        signatures = {
            name: task.signature(
                sequence_length=self.pack.sequence_length,
                prepare=self.served_inputs,
                network=lambda inputs, head=head: head(pooled(inputs)),
                layers=lambda inputs, part=self.columns(name): self(inputs, training=False)[:, part.start : part.stop],
            )
            for (name, task), head in zip(self.tasks.items(), computed.head.heads, strict=True)
        }
        return Serving(signatures, {name: task.labels for name, task in self.tasks.items()})

    def served_inputs(self, *texts: tf.Tensor) -> dict[str, tf.Tensor]:
        inputs = super().served_inputs(*texts)
        return {name: tf.cast(inputs[name], tf.int32) for name in _INPUTS}

    def task_settings(self) -> dict:
        """What a preset stores about the network and its inputs."""
        return {
            "tasks": describe_tasks(self.tasks),
            "pooler": self.with_pooler,
            "extra_blocks": len(self.extra_blocks),
            "sequence_length": self.sequence_length,
            "head_dropout": self.head_dropout,
        }

    def get_config(self) -> dict:
        return {
            "config": self.config.to_dict(),
            "tokenizer": self.tokenizer.spec().to_config(),
            "pooling": self.pooling,
            **self.task_settings(),
            "seed": self.seed,
            **structure_of(self),
            "dtype": keras.saving.serialize_keras_object(self.dtype_policy),
            "name": self.name,
        }

    @classmethod
    def from_config(cls, config: dict) -> "MultiTaskClassifier":
        config = {**config, "dtype": keras.saving.deserialize_keras_object(config["dtype"])}
        structure = {name: config.pop(name) for name in STRUCTURE if name in config}
        model = cls(**config)
        model.fresh = ()  # Keras loads every weight after this
        restore_structure(model, **structure)
        return model


def _heads_not_in(saved: Any, tasks: Mapping[str, Any]) -> list[str]:
    """Patterns of the heads that a preset saved with `saved` has no weights for.

    A head is its labels: with others, even as many, its rows would answer other questions.
    """
    known = {name: (task.labels, task.multi_label) for name, task in as_tasks(saved).items()} if saved else {}
    return [f"head/{name}/.*" for name, task in tasks.items() if known.get(name) != (task.labels, task.multi_label)]
