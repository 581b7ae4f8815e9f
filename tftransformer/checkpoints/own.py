"""Folders of our own: preset.json, model.safetensors (tensors named by address) and vocab.txt."""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tftransformer import files
from tftransformer.checkpoints.folders import read_json
from tftransformer.checkpoints.preset import POOLINGS, Preset, check_vocabulary
from tftransformer.checkpoints.sources import FLOATING, SafetensorsSource, weights_file
from tftransformer.checkpoints.tables.own import OWN
from tftransformer.config import TransformerConfig
from tftransformer.data.tokenizers.vocabulary import read_vocabulary, write_vocabulary
from tftransformer.errors import TransformerError, near_miss

FORMAT = 1
TOKEN_TABLE = "embeddings/token/embeddings"
_KINDS = {
    "config": dict,
    "tokenizer": dict,
    "pooling": str,
    "head": dict,
    "modifications": list,
    "task": dict,
}


def save_preset(
    folder: str | os.PathLike[str],
    *,
    config: TransformerConfig,
    tokenizer: Any,
    variables: Mapping[str, Any],
    pooling: str = "cls",
    labels: Iterable[str] | None = None,
    head: Mapping[str, Any] | None = None,
    task: Mapping[str, Any] | None = None,
    modifications: Iterable[Any] = (),
    dtype: str | None = None,
    overwrite: bool = False,
) -> Path:
    """Write a folder that `load_preset` reads; it appears whole or not at all.

    Args:
        folder: Where to; its parents are made.
        config: The encoder's configuration.
        tokenizer: Has `vocabulary` (pieces) and `get_config()` (the other arguments of its constructor).
        variables: `keras.Variable`s or arrays by address (`patterns.addresses(model)`).
        pooling: "cls", "mean" or "max".
        labels: The names of the classes, in the order of the head's logits.
        head: Settings of the head, as JSON values.
        task: Anything else the task needs to come back, as JSON values.
        modifications: Changes of structure to replay on loading, as JSON values.
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
    if pooling not in POOLINGS:
        raise TransformerError(
            f"pooling must be one of {', '.join(POOLINGS)}; got {pooling!r}{near_miss(pooling, POOLINGS)}"
        )
    if dtype is not None and dtype not in FLOATING:
        raise TransformerError(f"dtype must be one of {', '.join(FLOATING)}; got {dtype!r}")
    vocabulary = tuple(tokenizer.vocabulary)
    check_vocabulary(vocabulary, config.vocabulary_size, "the tokenizer", exact=True)
    settings = {key: value for key, value in tokenizer.get_config().items() if key != "vocabulary"}
    with files.atomic_folder(folder, overwrite=overwrite) as new:
        write_vocabulary(vocabulary, new)
        _write_weights(new / "model.safetensors", variables, dtype)
        description = {
            "format": FORMAT,
            "config": config.to_dict(),
            "tokenizer": settings,
            "pooling": pooling,
            "labels": None if labels is None else list(labels),
            "head": dict(head or {}),
            "modifications": list(modifications),
            "task": dict(task or {}),
            "weights_sha256": files.sha256(new / "model.safetensors"),
        }
        files.write_json(new / "preset.json", description)
    return folder


def load_own(folder: Path, name: str) -> Preset:
    """Read a folder that `save_preset` wrote.

    Raises:
        TransformerError: A file is missing or damaged, was written by a later version, or contradicts the
            others.
    """
    path = folder / "preset.json"
    stated = read_json(path)
    if stated.get("format") != FORMAT:
        raise TransformerError(f"{path} must have format {FORMAT}; got {stated.get('format')!r}")
    _check_kinds(path, stated)
    labels = stated["labels"]
    if stated["pooling"] not in POOLINGS:
        known = ", ".join(POOLINGS)
        raise TransformerError(f"{path}: pooling must be one of {known}; got {stated['pooling']!r}")
    try:
        config = TransformerConfig.from_dict(stated["config"])
    except TransformerError as error:
        raise TransformerError(f"{path}: {error}") from None
    source = _checked_weights(folder, stated, config)
    vocabulary = read_vocabulary(folder / "vocab.txt")
    check_vocabulary(vocabulary, config.vocabulary_size, str(folder), exact=True)
    return Preset(
        name=name,
        origin="tftransformer",
        config=config,
        source=source,
        table=OWN,
        vocabulary=vocabulary,
        tokenizer=stated["tokenizer"],
        pooling=stated["pooling"],
        pooler="pooler/dense/kernel" in source.keys(),
        labels=None if labels is None else tuple(labels),
        head=stated["head"],
        task=stated["task"],
        modifications=tuple(stated["modifications"]),
    )


def _check_kinds(path: Path, stated: dict[str, Any]) -> None:
    for key, kind in _KINDS.items():
        value = stated.get(key)
        if not isinstance(value, kind):
            raise TransformerError(f"{path} must have {key} as a JSON {kind.__name__}; got {value!r:.80}")
    labels = stated.get("labels", 0)
    strings = isinstance(labels, list) and all(isinstance(name, str) for name in labels)
    if labels is not None and not strings:
        raise TransformerError(f"{path} must have labels as a list of strings or null; got {labels!r:.80}")


def _checked_weights(folder: Path, stated: dict[str, Any], config: TransformerConfig) -> SafetensorsSource:
    weights = weights_file(folder)
    source = SafetensorsSource(weights)
    if files.sha256(weights) != stated.get("weights_sha256"):
        raise TransformerError(f"{weights} is damaged: its checksum is not the one that preset.json states")
    expected = (config.vocabulary_size, config.hidden_dim)
    found = source.shape(TOKEN_TABLE) if TOKEN_TABLE in source.keys() else None
    if found != expected:
        raise TransformerError(
            f"{folder / 'preset.json'} must fit the weights; by its config {TOKEN_TABLE} is {expected}, in "
            f"the weights it is {found or 'missing'}"
        )
    return source


def _write_weights(path: Path, variables: Mapping[str, Any], dtype: str | None) -> None:
    from safetensors.numpy import save_file

    arrays = {}
    for address, variable in variables.items():
        array = _as_array(variable)
        if dtype is not None:
            with np.errstate(over="ignore"):  # what overflows is reported by name instead
                array = array.astype(_numpy_dtype(dtype))
        if not np.isfinite(array).all():
            raise TransformerError(
                f"weights must be finite to be saved; {address} holds NaN or infinity as {array.dtype}"
            )
        arrays[address] = np.ascontiguousarray(array)  # the writer takes the memory as it lies
    save_file(arrays, str(path))


def _as_array(variable: Any) -> np.ndarray:
    if isinstance(variable, np.ndarray):
        return variable
    import keras

    return keras.ops.convert_to_numpy(variable)


def _numpy_dtype(name: str) -> Any:
    if name == "bfloat16":
        import ml_dtypes

        return ml_dtypes.bfloat16
    return name
