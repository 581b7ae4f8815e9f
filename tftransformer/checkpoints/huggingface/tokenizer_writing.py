"""A tokenizer as the files that transformers' AutoTokenizer reads."""

import base64
from pathlib import Path
from typing import Any

from tftransformer import files
from tftransformer.models.families import FAMILIES, family_of_tokenizer
from tftransformer.text.sentencepiece_model import (
    PieceType,
    UnigramModel,
    from_fairseq,
    model_bytes,
    parse_model,
)
from tftransformer.text.spec import TokenizerSpec

_SPECIAL = {
    "unk_token": "unknown_token",
    "pad_token": "pad_token",
    "cls_token": "start_token",
    "sep_token": "separator_token",
    "mask_token": "mask_token",
    "bos_token": "start_token",
    "eos_token": "separator_token",
}
_DEFAULTS = {
    "wordpiece": ("[UNK]", "[PAD]", "[CLS]", "[SEP]", "[MASK]"),
    "byte_bpe": ("<unk>", "<pad>", "<s>", "</s>", "<mask>"),
    "sentencepiece": ("<unk>", "<pad>", "<s>", "</s>", "<mask>"),
}
_SPACE_SIGN = "\u2581"


def write_tokenizer(folder: Path, tokenizer: Any, family: str) -> None:
    """Write a tokenizer into a folder, such that transformers' AutoTokenizer gives the same ids.

    Their BertTokenizer reads words of up to 100 characters, whatever `max_word_characters` is.

    Args:
        folder: The folder; exists.
        tokenizer: A `Tokenizer` or a `TokenizerSpec`.
        family: The model's.

    Example:
        >>> write_tokenizer(Path("checkpoint"), tokenizer, "bert")
    """
    spec = tokenizer if isinstance(tokenizer, TokenizerSpec) else tokenizer.spec()
    defaults = dict(zip(list(_SPECIAL.values())[:5], _DEFAULTS[spec.kind], strict=True))
    special = {theirs: spec.settings.get(ours, defaults[ours]) for theirs, ours in _SPECIAL.items()}
    if spec.kind == "wordpiece":
        special = {name: special[name] for name in list(_SPECIAL)[:5]}
    writers = {"wordpiece": _wordpiece, "byte_bpe": _byte_bpe, "sentencepiece": _sentencepiece}
    config = writers[spec.kind](Path(folder), spec, special)
    # Said for every family: their ALBERT tokenizer leaves segments out unless it is told, their BERT's never does.
    segments = ["token_type_ids"] if FAMILIES[family].defaults["num_segments"] > 1 else []
    config["model_input_names"] = ["input_ids", *segments, "attention_mask"]
    files.write_json(Path(folder) / "tokenizer_config.json", {**config, **special})
    files.write_json(Path(folder) / "special_tokens_map.json", special)


def _class_of(kind: str, fairseq_ids: bool = False) -> str:
    """Their class for a kind of tokenizer."""
    return f"{family_of_tokenizer(kind, fairseq_ids).huggingface.classes}Tokenizer"


def _wordpiece(folder: Path, spec: TokenizerSpec, special: dict[str, str]) -> dict[str, Any]:
    files.write_bytes(folder / "vocab.txt", spec.files["vocab.txt"])
    return {
        "tokenizer_class": _class_of("wordpiece"),
        "do_lower_case": spec.settings.get("lowercase", True),
        "strip_accents": spec.settings.get("strip_accents"),
        "tokenize_chinese_chars": spec.settings.get("split_on_cjk", True),
    }


def _byte_bpe(folder: Path, spec: TokenizerSpec, special: dict[str, str]) -> dict[str, Any]:
    for name in ("vocab.json", "merges.txt"):
        files.write_bytes(folder / name, spec.files[name])
    return {
        "tokenizer_class": _class_of("byte_bpe"),
        "add_prefix_space": spec.settings.get("add_prefix_space", False),
        "trim_offsets": spec.settings.get("trim_offsets", True),
    }


def _sentencepiece(folder: Path, spec: TokenizerSpec, special: dict[str, str]) -> dict[str, Any]:
    """The model file, for whoever has the SentencePiece library, and tokenizer.json, which transformers reads first."""
    model = parse_model(spec.files["spiece.model"])
    settings = spec.settings
    lowercase, accents = settings.get("lowercase", False), settings.get("strip_accents", False)
    quotes, prefix = settings.get("straighten_quotes", False), settings.get("add_prefix_space", True)
    separators = settings.get("pair_separators", 2)
    unknown = model.types.index(PieceType.UNKNOWN)
    plain = not (lowercase or accents or quotes)
    files.write_json(folder / "tokenizer.json", _tokenizer_json(model, spec, special))
    config: dict[str, Any] = {"add_prefix_space": prefix}
    if quotes and separators == 1 and unknown == 1:
        files.write_bytes(folder / "spiece.model", spec.files["spiece.model"])
        return {
            **config,
            "tokenizer_class": _class_of("sentencepiece"),
            "do_lower_case": lowercase,
            "keep_accents": not accents,
        }
    original = from_fairseq(model)
    if plain and separators == 2 and unknown == 3 and original is not None:
        files.write_bytes(folder / "sentencepiece.bpe.model", model_bytes(original))
        return {**config, "tokenizer_class": _class_of("sentencepiece", fairseq_ids=True)}
    files.write_bytes(folder / "spiece.model", spec.files["spiece.model"])
    return {"tokenizer_class": "PreTrainedTokenizerFast"}


def _tokenizer_json(model: UnigramModel, spec: TokenizerSpec, special: dict[str, str]) -> dict[str, Any]:
    settings = spec.settings
    steps: list[dict[str, Any]] = []
    if settings.get("straighten_quotes", False):
        steps += [{"type": "Replace", "pattern": {"String": quote}, "content": '"'} for quote in ("``", "''")]
    if settings.get("strip_accents", False):
        steps += [{"type": "NFKD"}, {"type": "StripAccents"}]
    if settings.get("lowercase", False):
        steps.append({"type": "Lowercase"})
    if model.charsmap:
        charsmap = base64.b64encode(model.charsmap).decode("ascii")
        steps.append({"type": "Precompiled", "precompiled_charsmap": charsmap})
    scheme = "always" if settings.get("add_prefix_space", True) else "never"
    sign = {"type": "Metaspace", "replacement": _SPACE_SIGN, "prepend_scheme": scheme, "split": True}
    ids = {piece: i for i, piece in enumerate(model.pieces)}
    names = [p for p, kind in zip(model.pieces, model.types, strict=True) if kind in _SPECIAL_TYPES]
    plain = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    rows = [{"id": ids[name], "content": name, **plain} for name in names]
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": rows,
        "normalizer": {"type": "Sequence", "normalizers": steps} if steps else None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [{"type": "WhitespaceSplit"}, sign]},
        "post_processor": _template(special, ids, settings.get("pair_separators", 2)),
        "decoder": sign,
        "model": {
            "type": "Unigram",
            "unk_id": model.types.index(PieceType.UNKNOWN),
            "vocab": [[piece, score] for piece, score in zip(model.pieces, model.scores, strict=True)],
            "byte_fallback": False,
        },
    }


_SPECIAL_TYPES = (PieceType.UNKNOWN, PieceType.CONTROL)


def _template(special: dict[str, str], ids: dict[str, int], separators: int) -> dict[str, Any]:
    start, end = special["cls_token"], special["sep_token"]
    second = 1 if separators == 1 else 0

    def token(name: str, segment: int) -> dict[str, Any]:
        return {"SpecialToken": {"id": name, "type_id": segment}}

    def text(name: str, segment: int) -> dict[str, Any]:
        return {"Sequence": {"id": name, "type_id": segment}}

    single = [token(start, 0), text("A", 0), token(end, 0)]
    return {
        "type": "TemplateProcessing",
        "single": single,
        "pair": [*single, *[token(end, 0)] * (separators - 1), text("B", second), token(end, second)],
        "special_tokens": {name: {"id": name, "ids": [ids[name]], "tokens": [name]} for name in {start, end}},
    }
