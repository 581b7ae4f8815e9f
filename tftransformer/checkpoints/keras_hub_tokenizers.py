"""The tokenizers of keras-hub's presets, from their settings and files: no class of theirs is built."""

from collections.abc import Callable, Mapping
from typing import Any

from tftransformer.checkpoints.folders import read_json
from tftransformer.checkpoints.keras_hub_classes import check_class
from tftransformer.checkpoints.keras_hub_files import HubFiles
from tftransformer.data.tokenizers.byte_bpe_files import parse_vocabulary_json
from tftransformer.data.tokenizers.sentencepiece_model import PieceType, model_bytes, parse_model, to_fairseq
from tftransformer.data.tokenizers.spec import TokenizerSpec
from tftransformer.data.tokenizers.vocabulary import parse_vocabulary
from tftransformer.errors import TransformerError

_ASSETS = "assets/tokenizer"
# What cannot be set here, with the only value that loads.
_REQUIRED: dict[str, Any] = {"split": True, "suffix_indicator": "##", "add_bos": False, "add_eos": False}


def read_tokenizer(files: HubFiles) -> TokenizerSpec:
    """The tokenizer of a preset.

    Raises:
        TransformerError: It is of another class, a setting has no counterpart, or a file is missing or damaged.
    """
    path = files.path("tokenizer.json")
    name, settings = check_class(read_json(path), tuple(_READERS), str(path))
    for key, value in _REQUIRED.items():
        if settings.get(key, value) != value:
            raise TransformerError(f"{path}: {key} must be {value!r}; got {settings[key]!r}")
    return _READERS[name](files, settings)


def _wordpiece(files: HubFiles, settings: Mapping[str, Any]) -> TokenizerSpec:
    path = files.path(f"{_ASSETS}/vocabulary.txt")
    data = path.read_bytes()
    rules: dict[str, Any] = {
        "lowercase": bool(settings.get("lowercase")),
        # False is keras-hub's default, not a statement about the checkpoint: BERT's uncased vocabularies
        # were made from text without accents, which None stands for.
        "strip_accents": True if settings.get("strip_accents") else None,
    }
    if settings.get("oov_token", "[UNK]") != "[UNK]":
        rules["unknown_token"] = settings["oov_token"]
    return TokenizerSpec("wordpiece", parse_vocabulary(data, str(path)), rules, {"vocab.txt": data})


def _byte_bpe(files: HubFiles, settings: Mapping[str, Any]) -> TokenizerSpec:
    path = files.path(f"{_ASSETS}/vocabulary.json")
    data = path.read_bytes()
    merges = files.path(f"{_ASSETS}/merges.txt").read_bytes()
    return TokenizerSpec(
        "byte_bpe",
        parse_vocabulary_json(data, str(path)),
        {"add_prefix_space": bool(settings.get("add_prefix_space"))},
        {"vocab.json": data, "merges.txt": merges},
    )
