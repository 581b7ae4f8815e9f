"""LoRA: train a low-rank change of some projections instead of the projections (Hu et al. 2021, arXiv 2106.09685)."""

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from keras import ops

from tftransformer import files
from tftransformer.errors import TransformerError
from tftransformer.finetuning.freezing import FreezeSummary, train_only
from tftransformer.finetuning.parts import check_count, fresh_patterns, selected_parts
from tftransformer.finetuning.schedules import check_number
from tftransformer.finetuning.tracing import model_changed
from tftransformer.layers.low_rank import LowRankDelta
from tftransformer.layers.parts import parts_of
from tftransformer.layers.projection import Projection
from tftransformer.layers.slots import attach, detach
from tftransformer.patterns import addresses

# Queries and values: what the paper trains where it can train only some.
TARGETS = r".*attention/(query|value)"
_NAME = "lora"
_OWN = f".*/{_NAME}/(down|up)"
_FORMAT = 1


def enable_lora(
    model: Any,
    rank: int = 8,
    *,
    alpha: float | None = None,
    dropout: float = 0.0,
    targets: str | Iterable[str] = TARGETS,
    train: str | Iterable[str] | None = None,
) -> FreezeSummary:
    """Add a low-rank change to projections and freeze everything else but the head.

    The model computes the same as before until it is trained. The new weights lie at `{target}/lora/down` and
    `{target}/lora/up`; a task trains them at the rate of fresh weights.

    Args:
        model: A built Keras model or task with this package's blocks.
        rank: Width of the change; the paper finds 4 to 8 enough.
        alpha: The change is multiplied by alpha / rank. None: `rank`.
        dropout: Rate on the input of the change (0 to below 1).
        targets: Regular expressions of the addresses of projections, matched from end to end, such as
            `"encoder_block_[6-9]/attention/.*"` or `".*/(attention|feed_forward)/.*"` for all of a block.
        train: Patterns of what else trains. None: whatever of a task is not pretrained, and the layer `head`.

    Returns:
        What is frozen now.

    Raises:
        TransformerError: A number out of its range, a pattern that matches nothing, a target that has LoRA
            already. Nothing was changed then.

    Example:
        >>> enable_lora(classifier, rank=8)  # doctest: +SKIP
        >>> classifier.compile()  # doctest: +SKIP
    """
    chosen = selected_parts(model, Projection, targets, "targets")
    taken = next((name for name, part in chosen.items() if part.delta is not None), None)
    if taken is not None:
        raise TransformerError(f"targets must be without LoRA; {taken!r} has it already: merge_lora first")
    narrowest = min(min(part.kernel.shape) for part in chosen.values())
    check_count("rank", rank, narrowest)
    if alpha is not None:
        check_number("alpha", alpha, "positive", lambda value: value > 0)
    check_number("dropout", dropout, "at least 0 and below 1", lambda value: 0 <= value < 1)
    kept = fresh_patterns(model, train)
    attach_lora(chosen, {"rank": rank, "alpha": alpha, "dropout": dropout})
    return train_only(model, [_OWN, *kept])


def merge_lora(model: Any, remove: bool = True) -> None:
    """Add the changes to the kernels, so that the model computes the same with one product less.

    Args:
        model: A model with LoRA.
        remove: Take the low-rank weights out: what is left is a model as before LoRA, and exports, converts and
            trains like one. False keeps them for `unmerge_lora`.

    Raises:
        TransformerError: The model has no LoRA to merge.
    """
    for part in _with_lora(model, merged=None).values():
        if not part.delta.merged:
            _add_product(part, +1)
            part.delta.merged = True
        if remove:
            detach(part, "delta")
    model_changed(model)


def unmerge_lora(model: Any) -> None:
    """Take merged changes out of the kernels again, up to rounding in the last place.

    Raises:
        TransformerError: Nothing is merged, or it was merged with `remove=True`.
    """
    for part in _with_lora(model, merged=True).values():
        _add_product(part, -1)
        part.delta.merged = False
    model_changed(model)


def save_lora(model: Any, path: str | os.PathLike) -> Path:
    """Write what LoRA training made, a few megabytes: the low-rank weights and everything else that trains.

    Args:
        model: A model with LoRA.
        path: A `.safetensors` file; it appears whole or not at all.

    Returns:
        The path.

    Raises:
        TransformerError: The model has no LoRA, or the disk refuses.
    """
    from safetensors.numpy import save

    settings = describe_lora(model)
    if not settings:
        raise TransformerError("model must have LoRA to save; got one without: enable_lora first")
    weights = {
        name: np.ascontiguousarray(ops.convert_to_numpy(variable))
        for name, variable in addresses(model).items()
        if variable.trainable or f"/{_NAME}/" in name
    }
    about = {"format": str(_FORMAT), "lora": json.dumps(settings)}
    path = Path(path)
    files.write_bytes(path, save(weights, metadata=about))
    return path


def load_lora(model: Any, path: str | os.PathLike) -> None:
    """Put what `save_lora` wrote into a model of the same base.

    Args:
        model: A built model without LoRA, with the weights that the other one started from.
        path: The file.

    Raises:
        TransformerError: The file is missing or is none of `save_lora`'s, or a weight in it does not fit the
            model. Nothing was changed then.
    """
    settings, weights = _read(Path(path))
    _check_fits(model, Path(path), settings, weights)
    replay_lora(model, settings)
    own = addresses(model)
    for name, value in weights.items():
        own[name].assign(value)
    model_changed(model)


def describe_lora(model: Any) -> list[dict[str, Any]]:
    """What LoRA a model has, as JSON values that `replay_lora` takes; one entry for each kind of settings."""
    groups: dict[str, dict[str, Any]] = {}
    for name, part in parts_of(model, Projection).items():
        if part.delta is not None:
            delta = part.delta
            settings = {"rank": delta.rank, "alpha": delta.alpha, "dropout": delta.input_dropout.rate}
            settings["merged"] = delta.merged
            group = groups.setdefault(json.dumps(settings), {"kind": _NAME, **settings, "targets": []})
            group["targets"].append(name)
    return list(groups.values())


def replay_lora(model: Any, records: Iterable[dict[str, Any]]) -> None:
    """Put in what `describe_lora` said; weights and what trains are left to others.

    Raises:
        TransformerError: A target is not in the model.
    """
    projections = parts_of(model, Projection)
    for record in records:
        missing = [name for name in record["targets"] if name not in projections]
        if missing:
            raise TransformerError(f"LoRA's targets must be in the model; {missing[0]!r} is not")
        chosen = {name: projections[name] for name in record["targets"]}
        attach_lora(chosen, {key: record[key] for key in ("rank", "alpha", "dropout", "merged")})


def attach_lora(projections: dict[str, Projection], settings: dict[str, Any]) -> None:
    """A fresh change for each projection."""
    for part in projections.values():
        delta = LowRankDelta(part.units, **settings, dtype=part.dtype_policy, name=_NAME)
        attach(part, "delta", delta, (None, part.kernel.shape[0]))


def _with_lora(model: Any, merged: bool | None) -> dict[str, Projection]:
    found = {
        name: part
        for name, part in parts_of(model, Projection).items()
        if part.delta is not None and merged in (None, part.delta.merged)
    }
    if not found:
        what = "merged LoRA" if merged else "LoRA"
        raise TransformerError(f"model must have {what}; got one without")
    return found


def _add_product(part: Projection, sign: int) -> None:
    # In float64: the sum is rounded once, to the kernel's own precision.
    down, up = (ops.convert_to_numpy(weight).astype("float64") for weight in (part.delta.down, part.delta.up))
    kernel = ops.convert_to_numpy(part.kernel)
    part.kernel.assign(
        (kernel.astype("float64") + sign * part.delta.scale * (down @ up)).astype(kernel.dtype)
    )


def _check_fits(
    model: Any, path: Path, settings: list[dict[str, Any]], weights: dict[str, np.ndarray]
) -> None:
    """Raise a `TransformerError` unless every weight of a file has a place of its shape, before anything is changed."""
    projections = parts_of(model, Projection)
    expected = {
        name: tuple(variable.shape) for name, variable in addresses(model).items() if f"/{_NAME}/" not in name
    }
    named = set()
    for record in settings:
        for target in record["targets"]:
            if target not in projections or projections[target].delta is not None:
                raise TransformerError(
                    f"{path} must fit the model; it has no place for {target!r}, or has LoRA there"
                )
            width, units = projections[target].kernel.shape
            expected[f"{target}/{_NAME}/down"] = (width, record["rank"])
            expected[f"{target}/{_NAME}/up"] = (record["rank"], units)
            named |= {f"{target}/{_NAME}/{part}" for part in ("down", "up")}
    for name in [*weights, *sorted(named - set(weights))]:
        found = weights[name].shape if name in weights else "missing"
        if found != expected.get(name):
            raise TransformerError(
                f"{path} must fit the model; {name!r} is {found} in it, {expected.get(name, 'missing')} in the model"
            )


def _read(path: Path) -> tuple[list[dict[str, Any]], dict[str, np.ndarray]]:
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise TransformerError(f"path must be a file of save_lora; {path} is no file")
    try:
        with safe_open(str(path), "numpy") as file:
            about = file.metadata() or {}
            if about.get("format") != str(_FORMAT) or "lora" not in about:
                raise TransformerError(f"path must be a file of save_lora; {path} is none")
            return json.loads(about["lora"]), {name: file.get_tensor(name) for name in file.keys()}
    except SafetensorError as error:
        raise TransformerError(f"path must be a file of save_lora; {path} cannot be read: {error}") from None
