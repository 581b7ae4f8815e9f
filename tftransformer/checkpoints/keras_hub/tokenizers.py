"""The tokenizers of keras-hub's presets, from their settings and files: no class of theirs is built."""

from collections.abc import Callable, Mapping
from typing import Any

from tftransformer.checkpoints.keras_hub.files import HubFiles, read_object
from tftransformer.errors import TransformerError
from tftransformer.models.families import families_of
from tftransformer.models.families.family import TokenizerFacts
from tftransformer.text.byte_bpe_files import parse_vocabulary_json
from tftransformer.text.sentencepiece_model import PieceType, model_bytes, parse_model, to_fairseq
from tftransformer.text.spec import TokenizerSpec
from tftransformer.text.vocabulary import parse_vocabulary

_ASSETS = "assets/tokenizer"
# What cannot be set here, with the only value that loads.
_REQUIRED: dict[str, Any] = {"split": True, "suffix_indicator": "##", "add_bos": False, "add_eos": False}


def read_tokenizer(files: HubFiles) -> TokenizerSpec:
    """The tokenizer of a preset."""
    path = files.path("tokenizer.json")
    known = {family.keras_hub.tokenizer: family.tokenizer for family in families_of("keras_hub").values()}
    name, settings = read_object(path, tuple(known))
    for key, value in _REQUIRED.items():
        if settings.get(key, value) != value:
            raise TransformerError(f"{path}: {key} must be {value!r}; got {settings[key]!r}")
    return _READERS[known[name].kind](files, settings, known[name])


def _wordpiece(files: HubFiles, settings: Mapping[str, Any], facts: TokenizerFacts) -> TokenizerSpec:
    path = files.path(f"{_ASSETS}/vocabulary.txt")
    data = path.read_bytes()
    rules: dict[str, Any] = {
        "lowercase": bool(settings.get("lowercase")),
        # False is keras-hub's default, not a statement about the checkpoint: BERT's uncased vocabularies
        # were made from text without accents, which None means.
        "strip_accents": True if settings.get("strip_accents") else None,
    }
    if settings.get("oov_token", "[UNK]") != "[UNK]":
        rules["unknown_token"] = settings["oov_token"]
    return TokenizerSpec("wordpiece", parse_vocabulary(data, str(path)), rules, {"vocab.txt": data})


def _byte_bpe(files: HubFiles, settings: Mapping[str, Any], facts: TokenizerFacts) -> TokenizerSpec:
    path = files.path(f"{_ASSETS}/vocabulary.json")
    data = path.read_bytes()
    merges = files.path(f"{_ASSETS}/merges.txt").read_bytes()
    return TokenizerSpec(
        "byte_bpe",
        parse_vocabulary_json(data, str(path)),
        {"add_prefix_space": bool(settings.get("add_prefix_space"))},
        {"vocab.json": data, "merges.txt": merges},
    )


def _sentencepiece(files: HubFiles, settings: Mapping[str, Any], facts: TokenizerFacts) -> TokenizerSpec:
    path = files.path(f"{_ASSETS}/vocabulary.spm")
    data = path.read_bytes()
    model = parse_model(data, str(path))
    if facts.fairseq_ids:
        # The file has the library's order; keras-hub moves the ids when it tokenizes, here the stored model has them.
        model = to_fairseq(model, facts.roles, str(path))
        settings, data = {"pair_separators": facts.pair_separators}, model_bytes(model)
        return TokenizerSpec("sentencepiece", model.pieces, settings, {"spiece.model": data})
    # keras-hub leaves case, accents and quotes to the model's own map. A vocabulary without one upper-case letter
    # is an uncased checkpoint's, whose text ALBERT's authors prepared by these three rules.
    words = [p for p, kind in zip(model.pieces, model.types, strict=True) if kind == PieceType.NORMAL]
    uncased = all(word == word.lower() for word in words)
    rules = dict.fromkeys(("lowercase", "strip_accents", "straighten_quotes"), uncased)
    settings = {**rules, "pair_separators": facts.pair_separators, **facts.roles}
    return TokenizerSpec("sentencepiece", model.pieces, settings, {"spiece.model": data})


_READERS: dict[str, Callable[[HubFiles, Mapping[str, Any], TokenizerFacts], TokenizerSpec]] = {
    "wordpiece": _wordpiece,
    "byte_bpe": _byte_bpe,
    "sentencepiece": _sentencepiece,
}
