"""keras-hub's presets (its old name: keras-nlp): by name, by handle, or a folder on disk.

Their JSON is read as data: nothing that it names is imported. The backbone is built from the numbers that it
states, loads its weights with Keras, and a table maps them.
"""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tftransformer.checkpoints.folders import read_json
from tftransformer.checkpoints.huggingface.settings import config_from
from tftransformer.checkpoints.keras_hub.files import (
    HubFiles,
    count_stored,
    explain,
    folder_files,
    is_hubs,
    kaggle_files,
    read_object,
    weights_of,
)
from tftransformer.checkpoints.keras_hub.tokenizers import read_tokenizer
from tftransformer.checkpoints.preset import POOLINGS, Preset, check_vocabulary
from tftransformer.checkpoints.rules import Table
from tftransformer.checkpoints.sources import KerasHubSource
from tftransformer.config import TransformerConfig
from tftransformer.errors import TransformerError, check_choice, check_whole
from tftransformer.models.families import Family, families_of
from tftransformer.models.families.family import KerasHub
from tftransformer.models.shapes import count_parameters

FAMILIES: tuple[str, ...] = tuple(families_of("keras_hub"))
# By the names of their backbones' classes.
BACKBONES: dict[str, Family] = {family.keras_hub.backbone: family for family in families_of("keras_hub").values()}


def preset_names() -> tuple[str, ...]:
    """keras-hub's names of presets of the families that load here."""
    import keras_hub

    names = (name for backbone in BACKBONES for name in getattr(keras_hub.models, backbone).presets)
    return tuple(dict.fromkeys(names))


def family_of(name: str) -> str | None:
    """The family of any of keras-hub's presets by name; None for names that it does not know."""
    import keras_hub

    known = keras_hub.models.Backbone.presets.get(name)
    return known["metadata"].get("path", "unknown") if known else None


def load_keras_hub_folder(folder: Path, name: str) -> Preset:
    """Read a folder that a backbone's or a task's `save_to_preset`, and the tokenizer's, wrote."""
    return _load(folder_files(folder), name)


def load_keras_hub(handle: str, name: str) -> Preset:
    """Load a preset of keras-hub's, downloading it where it is not in the local cache."""
    known = _keras_hub(name).models.Backbone.presets.get(handle)
    return _load(kaggle_files(known["kaggle_handle"] if known else handle, name), name)


def _load(files: HubFiles, name: str) -> Preset:
    where = files.path("config.json")
    backbone_class, settings = read_object(where, tuple(BACKBONES))
    family = BACKBONES[backbone_class]
    hub = family.keras_hub
    config = _to_config(family, settings, where)
    tokenizer = read_tokenizer(files)
    check_vocabulary(tokenizer.vocabulary, config.vocabulary_size, files.where)
    weights, parts = weights_of(files)
    stored, described = count_stored(parts), count_parameters(config)
    described += (config.hidden_dim + 1) * config.hidden_dim if hub.pooler else 0
    if stored != described:
        raise TransformerError(
            f"{where} must fit the weights; it describes {described} parameters, and {stored} are stored"
        )
    task = read_task(files, hub, _backbone(hub, settings, weights, name))
    return Preset(
        name=name,
        origin="keras_hub",
        config=config,
        source=KerasHubSource(task.model),
        table=task.table,
        tokenizer=tokenizer,
        pooling=task.pooling or "cls",
        pooler=task.pooling is None,
        labels=task.labels,
        head=task.head,
    )


def _to_config(family: Family, settings: Mapping[str, Any], where: Path) -> TransformerConfig:
    """Their settings as our configuration."""
    hub = family.keras_hub
    missing = [key for key in hub.settings if key not in settings]
    if missing:
        raise TransformerError(f"{where} must state {', '.join(missing)}; they are missing")
    for key, value in hub.required.items():
        if settings.get(key, value) != value:
            raise TransformerError(f"{where}: {key} must be {value!r}; got {settings[key]!r}")
    fields = {ours: settings[theirs] for theirs, ours in hub.settings.items()}
    if hub.projection_only_where_needed and fields["embedding_dim"] == fields["hidden_dim"]:
        fields["embedding_dim"] = None
    config = config_from(where, family, {**fields, **hub.fixed})
    if config.num_layers % config.num_blocks:
        raise TransformerError(
            f"{where}: num_layers must be a multiple of num_groups; got {config.num_layers} and {config.num_blocks}"
        )
    return config


def _backbone(hub: KerasHub, settings: Mapping[str, Any], weights: Path, name: str) -> Any:
    """keras-hub's backbone with its weights, in float32 whatever they are stored in."""
    models = _keras_hub(name).models
    arguments = {theirs: settings[theirs] for theirs in hub.settings}
    try:
        backbone = getattr(models, hub.backbone)(**arguments, **hub.required, dtype="float32")
        backbone.load_weights(str(weights))
    except Exception as error:  # keras-hub, Keras and h5py each raise their own
        raise TransformerError(f"preset {name!r} cannot be loaded: {explain(error)}") from error
    return backbone


def _keras_hub(name: str) -> Any:
    try:
        import keras_hub
    except ImportError:
        raise TransformerError(
            f"preset {name!r} is keras-hub's, which is not installed; pip install keras-hub"
        ) from None
    return keras_hub


# Of a classifier's outputs: whether each label is for itself. The softmax is of the logits, as here.
_MULTI_LABEL = {"linear": False, "softmax": False, "sigmoid": True}


@dataclasses.dataclass(frozen=True)
class HubTask:
    """The model that holds a preset's weights, and what `Preset` says about all above the encoder.

    Args:
        model: The backbone, or the classifier around it.
        table: Names of the variables in the model.
        pooling: Way from tokens to one vector; None: the family's.
        labels: The names of the classes; None where there is no head.
        head: Settings of the head.
    """

    model: Any
    table: Table
    pooling: str | None = None
    labels: tuple[str, ...] | None = None
    head: Mapping[str, Any] = dataclasses.field(default_factory=dict)


def read_task(files: HubFiles, hub: KerasHub, backbone: Any) -> HubTask:
    """The task that was saved in a preset around its backbone, or the backbone alone."""
    path = files.find("task.json")
    if path is None:
        return HubTask(backbone, hub.table)
    stated = read_json(path)
    name, settings = stated.get("class_name"), stated.get("config")
    if not is_hubs(stated.get("module")) or not isinstance(name, str) or not isinstance(settings, dict):
        raise TransformerError(f"{path} must describe a task of keras-hub's; it describes a {name!r:.80}")
    if name == f"{hub.classes}TextEmbedder":
        pooling = settings.get("pooling_mode", "mean")
        check_choice(f"{path}: pooling_mode", pooling, POOLINGS)
        return HubTask(backbone, hub.table, pooling)
    if name not in hub.classifiers:  # words to fill in, for instance: none of it is in the encoder's weights
        return HubTask(backbone, hub.table)
    return _classifier(files, hub, backbone, path, settings)


def _classifier(files: HubFiles, hub: KerasHub, backbone: Any, path: Path, settings: Mapping[str, Any]) -> HubTask:
    classes, dropout = settings.get("num_classes"), settings.get("dropout", 0.0)
    check_whole(f"{path}: num_classes", classes)
    if isinstance(dropout, bool) or not isinstance(dropout, (int, float)) or not 0 <= dropout < 1:
        raise TransformerError(f"{path}: dropout must be at least 0 and below 1; got {dropout!r}")
    # Where the backbone has the pooler, the head is one layer.
    width = backbone.hidden_dim if hub.pooler else settings.get("hidden_dim") or backbone.hidden_dim
    check_whole(f"{path}: hidden_dim", width)
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
        # The pooler may be a part of the classifier.
        return HubTask(model, hub.table.without("head/.*" if hub.pooler else "(head|pooler)/.*", reason))
    labels = tuple(f"LABEL_{i}" for i in range(classes))
    return HubTask(
        model, hub.table, labels=labels, head={"multi_label": _MULTI_LABEL[activation], "head_dropout": float(dropout)}
    )


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
