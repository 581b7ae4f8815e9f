"""Finding a preset: the embedded ones, folders on disk, keras-hub's names, and handles of hubs."""

import os
from pathlib import Path

from tftransformer.checkpoints.folders import read_json
from tftransformer.checkpoints.google import is_tensorflow_folder, load_tensorflow_folder, settings_files
from tftransformer.checkpoints.huggingface.folder import load_huggingface
from tftransformer.checkpoints.native_format import load_own
from tftransformer.checkpoints.preset import Preset
from tftransformer.errors import TransformerError, near_miss

# The files of a repository that a preset may need, the weights in every form but pickles; then those.
_WANTED = (
    "*.json", "1_Pooling/*.json", "vocab*.txt", "merges.txt", "*.model", "model*.safetensors", "*.h5",
    "assets/*", "*.ckpt*", "*.index", "*.data-*", "README.md", "LICENSE*",
)  # fmt: skip
_PICKLES = (*_WANTED, "pytorch_model*.bin")
_EMBEDDED = Path(__file__).resolve().parent.parent / "presets"


def embedded_presets() -> tuple[str, ...]:
    """The names of the presets inside the package."""
    return tuple(sorted(path.parent.name for path in _EMBEDDED.glob("*/preset.json")))


def load_preset(name: str | os.PathLike[str]) -> Preset:
    """Find a preset, check it, and describe it; its weights are read when they are asked for.

    Args:
        name: The name of an embedded preset (`embedded_presets()`); a folder of ours, of keras-hub, in
            Hugging Face's layout or with one of Google's TensorFlow checkpoints; the folder of a run, of which it is
            the model; one of keras-hub's names such as "bert_base_en_uncased"; or a handle
            such as "kaggle://keras/bert/keras/bert_base_en_uncased" or "hf://owner/name".

    Returns:
        The `Preset`: configuration, weights, vocabulary and settings.

    Raises:
        TransformerError: No such preset (near names are listed), a hub that cannot be reached, another
            family, or files that are damaged or contradict each other.

    Example:
        >>> preset = load_preset("bert_12x192_en_uncased")
        >>> preset.config.num_layers, preset.pooling
        (12, 'mean')
    """
    if not isinstance(name, (str, os.PathLike)) or not isinstance(os.fspath(name), str):
        raise TransformerError(f"a preset must be a name or a folder; got {name!r:.80}, of type {type(name).__name__}")
    name = os.fspath(name)
    if not name.strip():
        raise TransformerError(f"a preset must be a name or a folder; got {name!r}")
    # Names first, so that a folder that happens to be called like a preset must be written "./name".
    if name in embedded_presets():
        return load_own(_EMBEDDED / name, name)
    if "://" in name:
        return _load_handle(name)
    folder = Path(name).expanduser()
    if folder.is_dir():
        return _load_folder(folder, name)
    if folder.exists():
        raise TransformerError(f"a preset must be a name or a folder; {name} is a file (give its folder)")
    return _load_name(name)


def _load_folder(folder: Path, name: str) -> Preset:
    if (folder / "preset.json").exists():
        return load_own(folder, name)
    if (folder / "run.json").exists() and not (folder / "config.json").exists():
        if not (folder / "model" / "preset.json").exists():
            raise TransformerError(f"{name} is the folder of a run that has left no model")
        return load_own(folder / "model", os.path.join(name, "model"))
    if not (folder / "config.json").exists():
        if is_tensorflow_folder(folder):
            return load_tensorflow_folder(folder, name)
        if (folder / "saved_model.pb").exists():
            raise TransformerError(
                f"{name} is a SavedModel, whose network cannot be taken apart; use it as a frozen layer: "
                "tftransformer.checkpoints.SavedModelFeatures(folder)"
            )
        raise TransformerError(
            f"{name} is no preset: it has neither preset.json (ours) nor config.json (keras-hub's and "
            f"Hugging Face's) nor a TensorFlow checkpoint with its {' or '.join(settings_files())}"
        )
    settings = read_json(folder / "config.json")
    if "class_name" in settings and "model_type" not in settings:
        from tftransformer.checkpoints.keras_hub.presets import load_keras_hub_folder

        return load_keras_hub_folder(folder, name)
    return load_huggingface(folder, name)


def _load_handle(name: str) -> Preset:
    from tftransformer.checkpoints.keras_hub import presets as keras_hub_presets

    scheme, _, rest = name.partition("://")
    if scheme == "kaggle":
        return keras_hub_presets.load_keras_hub(name, name)
    if scheme == "hf":
        return _load_folder(_download(rest, name), name)
    raise TransformerError(f"a preset's handle must start with kaggle:// or hf://; got {name!r}")


def _download(repository: str, name: str) -> Path:
    """A local copy of the files of a Hugging Face repository that a preset needs.

    keras-hub could load it too, but computes another GELU than the checkpoint was trained with.
    """
    try:
        from huggingface_hub import snapshot_download
    except ImportError:
        raise TransformerError(
            f"preset {name!r} needs huggingface_hub (pip install huggingface_hub), or its folder on disk"
        ) from None
    from tftransformer.checkpoints.keras_hub.presets import explain

    try:
        folder = Path(snapshot_download(repository, allow_patterns=list(_WANTED), etag_timeout=10))
        if not any(any(folder.rglob(kind)) for kind in ("*.safetensors", "*.h5", "*.index")):
            # Only where there is nothing better: a pickle is read by torch's own safe reader, or not at all.
            folder = Path(snapshot_download(repository, allow_patterns=list(_PICKLES), etag_timeout=10))
    except Exception as error:  # the client raises its own, httpx's and requests' errors
        raise TransformerError(f"preset {name!r} cannot be loaded: {explain(error)}") from error
    return folder


def _load_name(name: str) -> Preset:
    try:
        from tftransformer.checkpoints.keras_hub import presets as keras_hub_presets

        hub_names = keras_hub_presets.preset_names()
        family = keras_hub_presets.family_of(name)
    except ImportError:
        hub_names, family = (), None
    if name in hub_names:
        return keras_hub_presets.load_keras_hub(name, name)
    if family is not None:
        raise TransformerError(
            f"preset {name!r} is a checkpoint of the family {family}; those that load are "
            f"{', '.join(keras_hub_presets.FAMILIES)}"
        )
    if os.sep in name or name.startswith((".", "~")):
        raise TransformerError(f"there is no preset folder {name}")
    known = (*embedded_presets(), *hub_names)
    raise TransformerError(
        f"there is no preset or folder {name!r}{near_miss(name, known)}"
        + ("" if near_miss(name, known) else f"; presets are for instance {', '.join(known[:5])}")
    )
