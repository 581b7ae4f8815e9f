"""keras-hub's presets (its old name: keras-nlp): by name, by handle, or a folder on disk.

keras-hub's own loader downloads and reads them; its backbone's weights are then mapped by a table.
"""

from pathlib import Path
from typing import Any

from tftransformer.checkpoints.folders import read_json
from tftransformer.checkpoints.preset import Preset, check_vocabulary
from tftransformer.checkpoints.sources import KerasHubSource
from tftransformer.checkpoints.tables import bert
from tftransformer.config import TransformerConfig
from tftransformer.data.tokenizers.spec import TokenizerSpec
from tftransformer.data.tokenizers.vocabulary import check_tokens, vocabulary_bytes
from tftransformer.errors import TransformerError

FAMILIES = ("bert",)
_BACKBONES = ("BertBackbone",)
_TOKENIZERS = ("BertTokenizer",)


def preset_names() -> tuple[str, ...]:
    """keras-hub's names of presets of the families that load here."""
    import keras_hub

    return tuple(keras_hub.models.BertBackbone.presets)


def family_of(name: str) -> str | None:
    """The family of any of keras-hub's presets by name; None for names that it does not know."""
    import keras_hub

    known = keras_hub.models.Backbone.presets.get(name)
    return known["metadata"].get("path", "unknown") if known else None


def load_keras_hub_folder(folder: Path, name: str) -> Preset:
    """Read a folder that `backbone.save_to_preset` and `tokenizer.save_to_preset` wrote.

    Raises:
        TransformerError: Another family, or a file that is missing or damaged.
    """
    for file, classes in (("config.json", _BACKBONES), ("tokenizer.json", _TOKENIZERS)):
        stated = read_json(folder / file)
        # The module is checked too: keras-hub imports whatever stands there.
        if stated.get("class_name") not in classes or not _is_hubs(stated.get("module")):
            raise TransformerError(
                f"{folder / file} must be of a family that loads ({', '.join(classes)}); it describes a "
                f"{stated.get('class_name')} of {stated.get('module')}"
            )
    if not any(folder.glob("model*.weights.*")):
        raise TransformerError(f"{folder} has no model.weights.h5")
    return load_keras_hub(str(folder), name)


def load_keras_hub(handle: str, name: str) -> Preset:
    """Load a preset through keras-hub, downloading it where it is not in its cache.

    Args:
        handle: What keras-hub's `from_preset` takes.
        name: What the caller called it.

    Raises:
        TransformerError: It cannot be downloaded or read.
    """
    import keras_hub

    try:
        backbone = keras_hub.models.BertBackbone.from_preset(handle, dtype="float32")
        tokenizer = keras_hub.models.BertTokenizer.from_preset(handle)
    except Exception as error:  # h5py, kagglehub, requests and keras-hub each raise their own
        raise TransformerError(f"preset {name!r} cannot be loaded: {explain(error)}") from error
    config = TransformerConfig(
        "bert",
        **{ours: getattr(backbone, theirs) for theirs, ours in bert.KERAS_HUB_SETTINGS.items()},
        **bert.KERAS_HUB_FIXED,
    )
    vocabulary = check_tokens(tokenizer.get_vocabulary(), repr(name))
    check_vocabulary(vocabulary, config.vocabulary_size, repr(name))
    return Preset(
        name=name,
        origin="keras_hub",
        config=config,
        source=KerasHubSource(backbone),
        table=bert.KERAS_HUB,
        tokenizer=TokenizerSpec(
            "wordpiece",
            vocabulary,
            _tokenizer_settings(tokenizer),
            {"vocab.txt": vocabulary_bytes(vocabulary)},
        ),
        pooler=True,
    )


def explain(error: BaseException) -> str:
    """The reason of a failed download or read in one line, the network's own chatter left out."""
    text = " ".join(str(error).split())
    lowered = f"{type(error).__name__} {text}".lower()
    network = (
        "connectionerror",
        "connecterror",
        "name or service",
        "max retries",
        "resolve",
        "timed out",
        "timeout",
        "unreachable",
        "offline",
        "internet connection",
    )
    if any(word in lowered for word in network):
        return "the network or the hub cannot be reached, and it is not in the local cache"
    return text[:300] or type(error).__name__


def _is_hubs(module: Any) -> bool:
    return isinstance(module, str) and module.split(".")[0] in ("keras_hub", "keras_nlp")


def _tokenizer_settings(tokenizer: Any) -> dict[str, Any]:
    config = tokenizer.get_config()
    return {
        "lowercase": bool(config.get("lowercase")),
        # False is keras-hub's default, not a statement about the checkpoint: BERT's uncased vocabularies
        # were made from text without accents, which None stands for.
        "strip_accents": True if config.get("strip_accents") else None,
    }
