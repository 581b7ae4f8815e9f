"""Folders of our own, written and read: preset.json, model.safetensors (tensors named by address), a tokenizer's files."""

import hashlib
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tftransformer import files
from tftransformer.checkpoints.assign import check_depth, stored_addresses
from tftransformer.checkpoints.folders import read_json
from tftransformer.checkpoints.preset import POOLINGS, UNSTATED, Preset, check_vocabulary
from tftransformer.checkpoints.rules import DECODER_TOKEN_TABLE, OWN, TOKEN_TABLE, transform_of
from tftransformer.checkpoints.sources import FLOATING, SafetensorsSource, cast
from tftransformer.config import TransformerConfig
from tftransformer.errors import TransformerError, check_choice
from tftransformer.models.shapes import encoder_shapes
from tftransformer.text.base import Tokenizer
from tftransformer.text.spec import TokenizerSpec, read_spec

FORMAT = 1
_KINDS = {
    "config": dict, "tokenizer": dict, "pooling": str, "head": dict, "modifications": list, "task": dict,
    "tokenizer_sha256": dict,
}  # fmt: skip
_OPTIONAL = ("tokenizer_sha256",)


def save_preset(
    folder: str | os.PathLike[str],
    *,
    config: TransformerConfig,
    tokenizer: Tokenizer,
    variables: Mapping[str, Any],
    pooling: str = "cls",
    labels: Iterable[str] | None = None,
    head: Mapping[str, Any] | None = None,
    task: Mapping[str, Any] | None = None,
    modifications: Iterable[Any] = (),
    class_name: str | None = None,
    dtype: str | None = None,
    overwrite: bool = False,
) -> Path:
    """Write a folder that `load_preset` reads; it appears whole or not at all.

    Args:
        folder: Folder to write; its parents are made.
        config: The encoder's configuration.
        tokenizer: A `text.Tokenizer`.
        variables: `keras.Variable`s or arrays by address (`patterns.addresses(model)`).
        pooling: "cls", "mean" or "max".
        labels: The names of the classes, in the order of the head's logits.
        head: Settings of the head, as JSON values.
        task: Other settings that the task needs to be loaded, as JSON values.
        modifications: Changes of structure to replay on loading, as JSON values.
        class_name: The registered name (`keras.saving.get_registered_name`) of the task's class, by which `tt.load`
            gives it back. None: it is an encoder alone.
        dtype: Store the weights as "float16", "bfloat16" or "float32". None: as they are, so that loading
            gives bit-equal weights.
        overwrite: Replace a folder that holds files.

    Returns:
        The folder.

    Raises:
        TransformerError: The folder holds files, the disk refuses, the vocabulary does not fit, or weights
            are not finite in the dtype to store.
    """
    folder = Path(folder)
    check_choice("pooling", pooling, POOLINGS)
    if dtype is not None:
        check_choice("dtype", dtype, FLOATING)
    spec = tokenizer.spec()
    check_vocabulary(spec.vocabulary, config.vocabulary_size, "the tokenizer")
    with files.atomic_folder(folder, overwrite=overwrite) as new:
        for file, data in spec.files.items():
            files.write_bytes(new / file, data)
        write_weights(new / "model.safetensors", variables, dtype)
        description = {
            "format": FORMAT,
            "class": class_name,
            "config": config.to_dict(),
            "tokenizer": {"kind": spec.kind, **spec.settings},
            "pooling": pooling,
            "labels": None if labels is None else list(labels),
            "head": dict(head or {}),
            "modifications": list(modifications),
            "task": dict(task or {}),
            "weights_sha256": files.sha256(new / "model.safetensors"),
            "tokenizer_sha256": _digests(spec),
        }
        files.write_json(new / "preset.json", description)
    return folder


def load_own(folder: Path, name: str) -> Preset:
    """Read a folder that `save_preset` wrote."""
    path = folder / "preset.json"
    stated = read_json(path)
    if stated.get("format") != FORMAT:
        raise TransformerError(f"{path} must have format {FORMAT}; got {stated.get('format')!r}")
    _check_kinds(path, stated)
    check_choice(f"{path}: pooling", stated["pooling"], POOLINGS)
    try:
        config = TransformerConfig.from_dict(stated["config"])
    except TransformerError as error:
        raise TransformerError(f"{path}: {error}") from None
    weights = folder / "model.safetensors"
    source = SafetensorsSource(weights)
    _check_digest(weights, files.sha256(weights), stated.get("weights_sha256"))
    _check_sizes(path, config, source)
    settings = dict(stated["tokenizer"])
    tokenizer = read_spec(folder, settings.pop("kind", "wordpiece"), settings)
    for file, digest in _digests(tokenizer).items():
        _check_digest(folder / file, digest, stated.get("tokenizer_sha256", {file: digest}).get(file))
    check_vocabulary(tokenizer.vocabulary, config.vocabulary_size, str(folder))
    return Preset(
        name=name,
        origin="tftransformer",
        config=config,
        source=source,
        table=OWN,
        tokenizer=tokenizer,
        pooling=stated["pooling"],
        pooler="pooler/dense/kernel" in source.keys(),
        labels=None if stated["labels"] is None else tuple(stated["labels"]),
        head=stated["head"],
        task={FORMER_NAMES.get(name, name): value for name, value in stated["task"].items()},
        modifications=tuple(stated["modifications"]),
        class_name=stated.get("class", UNSTATED),
    )


# Settings that version 0.1 wrote under other names.
FORMER_NAMES = {"max_length": "sequence_length"}


def _check_kinds(path: Path, stated: dict[str, Any]) -> None:
    for key, kind in _KINDS.items():
        value = stated.get(key, {} if key in _OPTIONAL else None)
        if not isinstance(value, kind):
            raise TransformerError(f"{path} must have {key} as a JSON {kind.__name__}; got {value!r:.80}")
    name = stated.get("class")
    if name is not None and not (isinstance(name, str) and name):
        raise TransformerError(f"{path} must have class as a name or null; got {name!r:.80}")
    labels = stated.get("labels", 0)
    strings = isinstance(labels, list) and all(isinstance(name, str) for name in labels)
    if labels is not None and not strings:
        raise TransformerError(f"{path} must have labels as a list of strings or null; got {labels!r:.80}")


def _check_digest(path: Path, found: str, stated: Any) -> None:
    if found != stated:
        raise TransformerError(f"{path} is damaged: its checksum is not the one that preset.json states")


def _check_sizes(path: Path, config: TransformerConfig, source: SafetensorsSource) -> None:
    """A config of other sizes is noticed before a model of them takes any memory."""
    check_depth(path, config, source)
    keys = set(source.keys())
    shapes, table = encoder_shapes(config), TOKEN_TABLE
    if DECODER_TOKEN_TABLE in keys and TOKEN_TABLE not in keys:
        table, shapes = DECODER_TOKEN_TABLE, {DECODER_TOKEN_TABLE: shapes[TOKEN_TABLE]}
    for address, expected in shapes.items():
        found = source.shape(address) if address in keys else None
        if found != expected and (address == table or found is not None):
            raise TransformerError(
                f"{path} must fit the weights; by its config {address} is {expected}, in the weights it is "
                f"{found or 'missing'}"
            )


def _digests(tokenizer: TokenizerSpec) -> dict[str, str]:
    return {name: hashlib.sha256(data).hexdigest() for name, data in tokenizer.files.items()}


def write_preset(
    preset: Preset, folder: str | os.PathLike[str], *, dtype: str | None = None, overwrite: bool = False
) -> Path:
    """Write what a preset holds, under our names and in our layout, as `load_preset` reads it back.

    Args:
        preset: Preset from anywhere: a hub, another project's folder, or `adapt`.
        folder, dtype, overwrite: Arguments of `save_preset`.

    Returns:
        The folder.

    Raises:
        TransformerError: The folder holds files, the disk refuses, or the structure was modified.
    """
    if preset.modifications:
        raise TransformerError(f"a preset must be written before its structure is modified; {preset.name} is")
    stored = stored_addresses(preset.source, preset.table)
    if preset.labels is None:  # nobody would know what its rows mean
        stored = {address: key for address, key in stored.items() if not address.startswith("head/")}
    transforms = {address: transform_of(preset.table.rule(address)) for address in stored}
    return save_preset(
        folder,
        config=preset.config,
        tokenizer=preset.tokenizer.build(),
        variables={a: transforms[a].forward(preset.source.get(key)) for a, key in stored.items()},
        pooling=preset.pooling,
        labels=preset.labels,
        head=preset.head,
        task=preset.task,
        class_name=preset.class_name or None,
        dtype=dtype,
        overwrite=overwrite,
    )


def write_weights(
    path: Path, variables: Mapping[str, Any], dtype: str | None = None, metadata: dict[str, str] | None = None
) -> None:
    """Write a `.safetensors` file."""
    from safetensors.numpy import save_file

    arrays = {}
    for address, variable in variables.items():
        array = as_array(variable)
        if dtype is not None:
            array = cast(array, dtype)
        if not np.isfinite(array).all():
            raise TransformerError(
                f"weights must be finite to be saved; {address} holds NaN or infinity as {array.dtype}"
            )
        arrays[address] = np.ascontiguousarray(array)  # the writer takes the memory as it is
    # The writer makes its files readable for their owner alone; an ordinary new file has the mode of all others.
    path.touch()
    mode = path.stat().st_mode
    save_file(arrays, str(path), metadata=metadata)
    path.chmod(mode & 0o777)


def as_array(variable: Any) -> np.ndarray:
    """A variable's values, or the array that it is already."""
    if isinstance(variable, np.ndarray):
        return variable
    import keras

    return keras.ops.convert_to_numpy(variable)
