"""The tokenizers of keras-hub's presets, from their settings and files: no class of theirs is built."""

from collections.abc import Callable, Mapping
from typing import Any

from tftransformer.checkpoints.keras_hub.files import HubFiles, read_object
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
    name, settings = read_object(path, tuple(_READERS))
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


def _xlm_roberta(files: HubFiles, settings: Mapping[str, Any]) -> TokenizerSpec:
    path = files.path(f"{_ASSETS}/vocabulary.spm")
    special = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")
    # The file has the library's order; keras-hub moves the ids when it tokenizes, here the stored model has them.
    model = to_fairseq(parse_model(path.read_bytes(), str(path)), special, str(path))
    return TokenizerSpec(
        "sentencepiece", model.pieces, {"pair_separators": 2}, {"spiece.model": model_bytes(model)}
    )


def _albert(files: HubFiles, settings: Mapping[str, Any]) -> TokenizerSpec:
    path = files.path(f"{_ASSETS}/vocabulary.spm")
    data = path.read_bytes()
    model = parse_model(data, str(path))
    # keras-hub leaves case, accents and quotes to the model's own map. A vocabulary without one upper-case letter
    # is an uncased checkpoint's, whose text ALBERT's authors prepared by these three rules.
    words = [p for p, kind in zip(model.pieces, model.types, strict=True) if kind == PieceType.NORMAL]
    uncased = all(word == word.lower() for word in words)
    rules = {
        "lowercase": uncased,
        "strip_accents": uncased,
        "straighten_quotes": uncased,
        "pair_separators": 1,
        "unknown_token": "<unk>",
        "pad_token": "<pad>",
        "start_token": "[CLS]",
        "separator_token": "[SEP]",
        "mask_token": "[MASK]",
    }
    return TokenizerSpec("sentencepiece", model.pieces, rules, {"spiece.model": data})


_READERS: dict[str, Callable[[HubFiles, Mapping[str, Any]], TokenizerSpec]] = {
    "BertTokenizer": _wordpiece,
    "DistilBertTokenizer": _wordpiece,
    "ElectraTokenizer": _wordpiece,
    "RobertaTokenizer": _byte_bpe,
    "XLMRobertaTokenizer": _xlm_roberta,
    "AlbertTokenizer": _albert,
}
