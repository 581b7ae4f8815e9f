"""Merge, unmerge, save and load what LoRA, DoRA and IA3 put into projections."""

import json
import os
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import ops

from tftransformer import files
from tftransformer.errors import TransformerError
from tftransformer.finetuning.adapter_config import adapter_config, restore_adapters
from tftransformer.finetuning.methods.targeted import ProjectionMethod
from tftransformer.finetuning.strategy import method_class
from tftransformer.finetuning.tracing import model_changed
from tftransformer.layers.projection import Projection
from tftransformer.layers.slots import detach
from tftransformer.layers.sublayers import sublayers_of
from tftransformer.patterns import addresses

_FORMAT = "2"


def merge(model: keras.Model, remove: bool = True) -> None:
    """Join the changes of projections with the kernels, so that the model computes the same with fewer operations.

    Args:
        model: A model with LoRA, DoRA or IA3.
        remove: Take the weights of the changes out: what is left is a model as before the method, and exports, converts
            and trains like one. False keeps them for `unmerge`, which LoRA alone allows.

    Raises:
        TransformerError: The model has nothing to merge, or `remove` is False and something could not be unmerged.
    """
    found = _changed(model, merged=None)
    lasting = next((part.delta.name for part in found.values() if not part.delta.adds), None)
    if not remove and lasting is not None:
        raise TransformerError(f"remove must be True for {lasting}, which cannot be unmerged; got False")
    for part in found.values():
        if not part.delta.merged:
            kernel, bias = _weights(part)
            _assign(part, *part.delta.fold(kernel, bias))
            part.delta.merged = True
        if remove:
            detach(part, "delta")
    model_changed(model)


def unmerge(model: keras.Model) -> None:
    """Take merged changes out of the kernels again, up to rounding in the last place.

    Raises:
        TransformerError: Nothing is merged, or it was merged with `remove=True`.
    """
    for part in _changed(model, merged=True).values():
        kernel, bias = _weights(part)
        zero = np.zeros_like(kernel)
        # What `fold` adds does not depend on the kernel where the change `adds`.
        _assign(part, kernel - part.delta.fold(zero, None)[0], bias)
        part.delta.merged = False
    model_changed(model)


def save_changes(model: keras.Model, path: str | os.PathLike) -> Path:
    """Write what training made of a model with LoRA, DoRA or IA3, a few megabytes: their weights and all else that trains.

    Args:
        model: A model with such changes.
        path: A `.safetensors` file; it appears whole or not at all.

    Returns:
        The path.

    Raises:
        TransformerError: The model has none, or the disk refuses.
    """
    from safetensors.numpy import save

    own = tuple(f"{name}/{part.delta.name}/" for name, part in _changed(model, merged=None).items())
    modifications = [
        modification
        for modification in adapter_config(model)
        if issubclass(method_class(modification["kind"]), ProjectionMethod)
    ]
    weights = {
        name: np.ascontiguousarray(ops.convert_to_numpy(variable))
        for name, variable in addresses(model).items()
        if variable.trainable or name.startswith(own)
    }
    path = Path(path)
    files.write_bytes(path, save(weights, metadata={"format": _FORMAT, "changes": json.dumps(modifications)}))
    return path


def load_changes(model: keras.Model, path: str | os.PathLike) -> None:
    """Put what `save_changes` wrote into a model of the same base.

    Args:
        model: A built model without such changes, with the weights that the other one started from.
        path: The file.

    Raises:
        TransformerError: The file is missing or is none of `save_changes`, or a weight in it does not fit the
            model. Nothing was changed then.
    """
    modifications, weights = _read(Path(path))
    _check_fits(model, Path(path), modifications, weights)
    restore_adapters(model, modifications)
    own = addresses(model)
    for name, value in weights.items():
        own[name].assign(value)
    model_changed(model)


def _changed(model: keras.Model, merged: bool | None) -> dict[str, Projection]:
    found = {
        name: part
        for name, part in sublayers_of(model, Projection).items()
        if part.delta is not None and merged in (None, part.delta.merged)
    }
    if not found:
        what = "merged LoRA" if merged else "LoRA, DoRA or IA3"
        raise TransformerError(f"model must have {what}; got one without")
    return found


def _weights(part: Projection) -> tuple[np.ndarray, np.ndarray | None]:
    # In float64: the result is rounded once, to the weights' own precision.
    kernel = ops.convert_to_numpy(part.kernel).astype("float64")
    return kernel, None if part.bias is None else ops.convert_to_numpy(part.bias).astype("float64")


def _assign(part: Projection, kernel: np.ndarray, bias: np.ndarray | None) -> None:
    part.kernel.assign(kernel.astype(ops.convert_to_numpy(part.kernel).dtype))
    if bias is not None:
        part.bias.assign(bias.astype(ops.convert_to_numpy(part.bias).dtype))


def _check_fits(
    model: keras.Model, path: Path, modifications: list[dict[str, Any]], weights: dict[str, np.ndarray]
) -> None:
    """Raise a `TransformerError` unless every weight of a file has a place of its shape, before anything is changed."""
    projections = sublayers_of(model, Projection)
    expected = {name: tuple(variable.shape) for name, variable in addresses(model).items()}
    named = set()
    for modification in modifications:
        settings = {key: value for key, value in modification.items() if key not in ("kind", "targets")}
        for target in modification["targets"]:
            if target not in projections or projections[target].delta is not None:
                raise TransformerError(
                    f"{path} must fit the model; it has no place for {target!r}, or is changed there already"
                )
            width, units = projections[target].kernel.shape
            change = method_class(modification["kind"]).part()(units, **settings, name=modification["kind"])
            change.build((None, width))
            shapes = {f"{target}/{modification['kind']}/{v.name}": tuple(v.shape) for v in change.trainable_variables}
            expected |= shapes
            named |= set(shapes)
    for name in [*weights, *sorted(named - set(weights))]:
        found = weights[name].shape if name in weights else "missing"
        if found != expected.get(name):
            raise TransformerError(
                f"{path} must fit the model; {name!r} is {found} in it, {expected.get(name, 'missing')} in the model"
            )


def _read(path: Path) -> tuple[list[dict[str, Any]], dict[str, np.ndarray]]:
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise TransformerError(f"path must be a file of save_changes; {path} is no file")
    try:
        with safe_open(str(path), "numpy") as file:
            about = file.metadata() or {}
            if about.get("format") != _FORMAT or "changes" not in about:
                raise TransformerError(f"path must be a file of save_changes; {path} is none")
            return json.loads(about["changes"]), {name: file.get_tensor(name) for name in file.keys()}
    except SafetensorError as error:
        raise TransformerError(f"path must be a file of save_changes; {path} cannot be read: {error}") from None
