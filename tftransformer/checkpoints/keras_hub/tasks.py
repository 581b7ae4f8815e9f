"""What stands above a keras-hub backbone in its preset: a classifier's head, or an embedder's pooling."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tftransformer.checkpoints.folders import read_json
from tftransformer.checkpoints.keras_hub.files import HubFiles, count_stored, explain, is_hubs
from tftransformer.checkpoints.preset import POOLINGS
from tftransformer.checkpoints.rules import Table
from tftransformer.errors import TransformerError
from tftransformer.models.families.family import KerasHub

# Of a classifier's outputs: whether each label stands for itself. The softmax is of the logits, as here.
_MULTI_LABEL = {"linear": False, "softmax": False, "sigmoid": True}


@dataclasses.dataclass(frozen=True)
class HubTask:
    """The model that holds a preset's weights, and what `Preset` says about all above the encoder.

    Args:
        model: The backbone, or the classifier around it.
        table: What the model calls its variables.
        pooling: How texts become one vector; None: as the family does.
        labels: The names of the classes; None where there is no head.
        head: Settings of the head.
    """

    model: Any
    table: Table
    pooling: str | None = None
    labels: tuple[str, ...] | None = None
    head: Mapping[str, Any] = dataclasses.field(default_factory=dict)


def read_task(files: HubFiles, hub: KerasHub, backbone: Any) -> HubTask:
    """The task that was saved in a preset around its backbone, or the backbone alone.

    Args:
        files: The preset's.
        hub: What is known of its family at keras-hub.
        backbone: keras-hub's, with its weights.

    Raises:
        TransformerError: A file of the task is missing or damaged, or contradicts the others.
    """
    path = files.find("task.json")
    if path is None:
        return HubTask(backbone, hub.table)
    stated = read_json(path)
    name, settings = stated.get("class_name"), stated.get("config")
    if not is_hubs(stated.get("module")) or not isinstance(name, str) or not isinstance(settings, dict):
        raise TransformerError(f"{path} must describe a task of keras-hub's; it describes a {name!r:.80}")
    if name == f"{hub.classes}TextEmbedder":
        pooling = settings.get("pooling_mode", "mean")
        if pooling not in POOLINGS:
            raise TransformerError(
                f"{path}: pooling_mode must be one of {', '.join(POOLINGS)}; got {pooling!r}"
            )
        return HubTask(backbone, hub.table, pooling)
    if name not in hub.classifiers:  # words to fill in, for instance: none of it is in the encoder's weights
        return HubTask(backbone, hub.table)
    return _classifier(files, hub, backbone, path, settings)


def _classifier(
    files: HubFiles, hub: KerasHub, backbone: Any, path: Path, settings: Mapping[str, Any]
) -> HubTask:
    classes, dropout = settings.get("num_classes"), settings.get("dropout", 0.0)
    if isinstance(classes, bool) or not isinstance(classes, int) or classes < 1:
        raise TransformerError(f"{path}: num_classes must be a positive integer; got {classes!r}")
    if isinstance(dropout, bool) or not isinstance(dropout, (int, float)) or not 0 <= dropout < 1:
        raise TransformerError(f"{path}: dropout must be at least 0 and below 1; got {dropout!r}")
    # Where the backbone has the pooler, the head is one layer.
    width = backbone.hidden_dim if hub.pooler else settings.get("hidden_dim") or backbone.hidden_dim
    if isinstance(width, bool) or not isinstance(width, int) or width < 1:
        raise TransformerError(f"{path}: hidden_dim must be a positive integer; got {width!r}")
    model = _with_weights(files, hub, backbone, classes, width)
    activation = _name_of(settings.get("activation") or "linear")
    reason = None
    if classes < 2:
        reason = "the head of one output, another task"
    elif width != backbone.hidden_dim:
        reason = f"a head whose inner layer has {width} units and not the encoder's {backbone.hidden_dim}"
    elif activation not in _MULTI_LABEL:
        reason = f"a head with the activation {activation}, another task"
    if reason is not None:
        return HubTask(model, without_head(hub, reason))
    labels = tuple(f"LABEL_{i}" for i in range(classes))
    return HubTask(
        model,
        hub.table,
        labels=labels,
        head={"multi_label": _MULTI_LABEL[activation], "head_dropout": float(dropout)},
    )


def without_head(hub: KerasHub, reason: str) -> Table:
    """The table without the classifier, of which the pooler may be a part."""
    return hub.table.without("head/.*" if hub.pooler else "(head|pooler)/.*", reason)


def _with_weights(files: HubFiles, hub: KerasHub, backbone: Any, classes: int, width: int) -> Any:
    """keras-hub's classifier around the backbone, built from plain numbers alone."""
    import keras
    import keras_hub

    path = files.path("task.weights.h5")
    described = (width + 1) * classes + (0 if hub.pooler else (backbone.hidden_dim + 1) * width)
    stored = count_stored((path,))
    # keras-hub before 0.29 writes the backbone's weights into this file as well.
    if stored not in (described, described + backbone.count_params()):
        raise TransformerError(
            f"{files.where}: task.json must fit task.weights.h5; it describes {classes} classes on {width} units, "
            f"which are {described} parameters, and {stored} are stored"
        )
    inner = {} if hub.pooler else {"hidden_dim": width}
    try:
        model = getattr(keras_hub.models, hub.classifiers[0])(
            backbone=backbone, num_classes=classes, compile=False, **inner
        )
        # Not `model.load_task_weights`: before 0.29 it looks for the backbone in files that do not hold it.
        keras.saving.load_weights(model, str(path), objects_to_skip=[backbone])
    except Exception as error:  # Keras and h5py each raise their own
        raise TransformerError(f"{path} cannot be loaded: {explain(error)}") from error
    return model


def _name_of(activation: Any) -> str:
    """The name of a serialised activation: Keras writes a string or, for a function of others, an object."""
    found = activation.get("config") if isinstance(activation, dict) else activation
    return found if isinstance(found, str) else "that a function computes"
