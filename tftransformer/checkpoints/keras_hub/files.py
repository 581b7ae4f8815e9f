"""The files of a keras-hub preset, wherever they are: in a folder, or on Kaggle and then in its client's cache."""

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tftransformer.checkpoints.folders import read_json
from tftransformer.checkpoints.sources.base import one_line
from tftransformer.errors import TransformerError

_OFFLINE = (
    "connectionerror", "connecterror", "name or service", "max retries", "resolve", "timed out", "timeout",
    "unreachable", "offline", "internet connection",
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class HubFiles:
    """The files of one preset.

    Args:
        where: Name for messages.
        find: Callable from the name of a file in the preset to its local path; None where there is no such file.
    """

    where: str
    find: Callable[[str], Path | None]

    def path(self, name: str) -> Path:
        """The local path of a file."""
        path = self.find(name)
        if path is None:
            raise TransformerError(f"{self.where} has no {name}")
        return path


def folder_files(folder: Path) -> HubFiles:
    """The files of a folder that `save_to_preset` wrote."""
    return HubFiles(str(folder), lambda name: folder / name if (folder / name).is_file() else None)


def kaggle_files(handle: str, name: str) -> HubFiles:
    """The files of a preset on Kaggle, downloaded one by one where its client has not cached them.

    Args:
        handle: "kaggle://owner/model/keras/variation", and "/version" where one is meant.
        name: Name that the caller used.
    """

    def find(file: str) -> Path | None:
        try:
            import kagglehub

            return Path(kagglehub.model_download(handle.removeprefix("kaggle://"), file))
        except Exception as error:  # the client raises its own and requests' errors
            # That a classifier's files are not there is not cached: without a network, that is assumed.
            if is_missing(error) or (file == "task.json" and is_offline(error)):
                return None
            raise TransformerError(f"preset {name!r} cannot be loaded: {explain(error)}") from error

    return HubFiles(f"preset {name!r}", find)


def read_object(path: Path, classes: tuple[str, ...]) -> tuple[str, dict[str, Any]]:
    """The class and the settings of an object that keras-hub described in JSON."""
    stated = read_json(path)
    name, settings = stated.get("class_name"), stated.get("config")
    if name not in classes or not is_hubs(stated.get("module")):
        raise TransformerError(
            f"{path} must be of a family that loads ({', '.join(classes)}); it describes a "
            f"{name} of {stated.get('module')}"
        )
    if not isinstance(settings, dict):
        raise TransformerError(f"{path} must hold the settings of its {name}; got {type(settings).__name__}")
    return name, settings


def is_hubs(module: Any) -> bool:
    """Return whether `module` is the name of a module of keras-hub."""
    return isinstance(module, str) and module.split(".")[0] in ("keras_hub", "keras_nlp")


def is_missing(error: BaseException) -> bool:
    """Return whether an error says that the hub has no such file."""
    status = getattr(getattr(error, "response", None), "status_code", None)
    return status == 404 or "404 Client Error" in str(error) or "is not present in the model files" in str(error)


def is_offline(error: BaseException) -> bool:
    """Return whether an error says that the hub did not answer at all."""
    return any(word in f"{type(error).__name__} {error}".lower() for word in _OFFLINE)


def explain(error: BaseException) -> str:
    """The reason of a failed download or read in one line, the network's own chatter left out."""
    if is_offline(error):
        return "the network or the hub cannot be reached, and it is not in the local cache"
    return one_line(error)


def weights_of(files: HubFiles) -> tuple[Path, tuple[Path, ...]]:
    """The file of a backbone's weights to hand to Keras, and the files that hold them, which may be its shards."""
    path = files.find("model.weights.h5")
    if path is not None:
        return path, (path,)
    index = files.find("model.weights.json")
    if index is None:
        raise TransformerError(f"{files.where} has no model.weights.h5")
    stated = read_json(index).get("weight_map")
    names: list[Any] = []
    for value in stated.values() if isinstance(stated, dict) else ():
        names.extend(value if isinstance(value, list) else (value,))
    # Keras joins these names to the folder's: none may lead out of it.
    if not names or not all(isinstance(name, str) and Path(name).name == name for name in names):
        raise TransformerError(f"{index} must name the files of the weights beside it")
    return index, tuple(files.path(name) for name in sorted(set(names)))


def count_stored(paths: tuple[Path, ...]) -> int:
    """Count the numbers in the weights of some HDF5 files from the files' headers alone."""
    import h5py

    total = 0
    for path in paths:
        found: dict[str, Any] = {}
        try:
            with h5py.File(path, "r") as file:
                file.visititems(lambda key, item: found.update({key: item}) if isinstance(item, h5py.Dataset) else None)
                elsewhere = any(item.external or item.is_virtual for item in found.values())
                # The state of a dropout's random numbers is no weight.
                sizes = (math.prod(item.shape) for key, item in found.items() if "seed_generator" not in key)
                total += sum(sizes)
        except Exception as error:  # h5py raises what the C library reports as many kinds
            raise TransformerError(f"{path} cannot be loaded: {explain(error)}") from error
        if elsewhere:
            raise TransformerError(f"{path} must hold its arrays itself; some are in other files")
    return total
