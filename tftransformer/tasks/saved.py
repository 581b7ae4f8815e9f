"""Tasks from presets, to folders, and from Keras's own files."""

import os
from collections.abc import Iterable, Sequence
from typing import Any

import keras

from tftransformer.checkpoints.huggingface.folder import save_huggingface
from tftransformer.checkpoints.native_format import save_preset
from tftransformer.checkpoints.preset import Preset
from tftransformer.config import TransformerConfig
from tftransformer.errors import TransformerError, check_choice
from tftransformer.finetuning.adapter_config import (
    FINETUNING_KEYS,
    adapter_config,
    restore_adapters,
    restore_finetuning,
)
from tftransformer.finetuning.recipe import complete_hparams
from tftransformer.models.task import AnyTask
from tftransformer.text.base import Tokenizer
from tftransformer.text.spec import TokenizerSpec

# Of folders with weights.
FORMATS = ("tftransformer", "huggingface")


def task_on_preset(
    kind: type[AnyTask],
    found: Preset,
    options: dict[str, Any],
    *,
    kept: Iterable[str],
    fresh: Sequence[str],
    load_weights: bool,
) -> AnyTask:
    """Build a task on the network of a preset.

    Args:
        kind: Class of the task.
        found: The preset.
        options: Arguments of the constructor and `dropout`.
        kept: Names of the preset's settings that hold here, too.
        fresh: Patterns of weights that start from random numbers even where the preset has some.
        load_weights: Whether to load any.

    Raises:
        TransformerError: The preset is of another kind, or broken.
    """
    kind.check_preset(found)
    config = found.config
    if (dropout := options.pop("dropout", None)) is not None:
        config = config.replace(dropout=dropout, attention_dropout=dropout)
    stated = {"pooling": found.pooling, "pooler": found.pooler, **found.task, **found.head}
    saved = {name: stated[name] for name in kept if name in stated}
    task = kind(config, found.tokenizer.build(), **{**saved, **options})
    task.recommended_hparams = complete_hparams(found.task.get("advice", {}), config.hidden_dim)
    restore_adapters(task, found.modifications)
    if load_weights:
        task.load_summary = found.load_into(task, optional=kind.own_weights, fresh=fresh)
        task.newly_initialized = tuple(task.load_summary.newly_initialized)
    return task


def save_task(
    task: Any, folder: str | os.PathLike, *, format: str, head: bool, dtype: str | None, overwrite: bool
) -> None:
    """Write a task to a folder; arguments as of `Task.save_to_preset`."""
    check_choice("format", format, FORMATS)
    contents = task.preset_contents()
    if not head and task.head is None:
        raise TransformerError(f"head must be True for a {type(task).__name__}, which has none to leave out; got False")
    if head:
        contents |= task.head_contents()
    else:
        contents["variables"] = {n: v for n, v in contents["variables"].items() if not n.startswith("head/")}
    options = {"dtype": dtype, "overwrite": overwrite}
    if format == "tftransformer":
        save_preset(
            folder,
            **contents,
            task=task.task_settings(),
            modifications=adapter_config(task),
            # Without its head it is an encoder's folder.
            class_name=keras.saving.get_registered_name(type(task)) if head else None,
            **options,
        )
        return
    if modifications := adapter_config(task):
        kinds = " and ".join(dict.fromkeys(modification["kind"] for modification in modifications))
        raise TransformerError(
            f"format 'huggingface' has no place for {kinds}: merge those of projections (LoRA, DoRA, IA3) with "
            "tt.merge, remove the others"
        )
    save_huggingface(folder, **task.huggingface_contents(contents), **options)


def task_from_config(kind: type[AnyTask], config: dict) -> AnyTask:
    """Build a task from what its `get_config` returned."""
    config = {**config, "dtype": keras.saving.deserialize_keras_object(config["dtype"])}
    structure = {name: config.pop(name) for name in FINETUNING_KEYS if name in config}
    task = kind(**config)
    task.newly_initialized = ()  # Keras loads every weight after this
    restore_finetuning(task, **structure)
    return task


# Arguments of a task's constructor, as objects or as a Keras config describes them.


def built_config(config: TransformerConfig | dict) -> TransformerConfig:
    """Return the config that a dict describes."""
    return TransformerConfig.from_dict(config) if isinstance(config, dict) else config


def built_tokenizer(tokenizer: Tokenizer | dict | None) -> Tokenizer | None:
    """Return the tokenizer that a dict describes; None for None."""
    return TokenizerSpec.from_config(tokenizer).build() if isinstance(tokenizer, dict) else tokenizer


def check_fit(config: TransformerConfig, tokenizer: Tokenizer, sequence_length: int | None) -> None:
    """Raise a `TransformerError` unless the network has room for the vocabulary and for sequences so long."""
    if tokenizer.vocabulary_size > config.vocabulary_size:
        raise TransformerError(
            f"the vocabulary must fit the embeddings; it has {tokenizer.vocabulary_size} tokens and the embeddings "
            f"{config.vocabulary_size} rows"
        )
    if sequence_length is not None:
        # Two tokens are [CLS] and [SEP]; below that there is no room for any text.
        check_lengths(config, sequence_length=(sequence_length, 3))


def check_lengths(config: TransformerConfig, **lengths: tuple[Any, int]) -> None:
    """Raise a `TransformerError` unless each length is at least so many tokens, and what the positions know at most."""
    bound = config.max_sequence_length if config.position == "learned" else None
    for name, (value, least) in lengths.items():
        whole = isinstance(value, int) and not isinstance(value, bool)
        if not whole or value < least or (bound and value > bound):
            limit = f"between {least} and {bound}, the encoder's longest input" if bound else f"at least {least}"
            raise TransformerError(f"{name} must be {limit}; got {value!r}")
