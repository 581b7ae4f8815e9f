"""Tokenizers of Hugging Face's folders."""

from pathlib import Path
from typing import Any

from tftransformer.checkpoints.folders import read_optional_json
from tftransformer.data.tokenizers.spec import TokenizerSpec, read_spec

_TOKENS = {
    "unk_token": "unknown_token",
    "pad_token": "pad_token",
    "cls_token": "start_token",
    "sep_token": "separator_token",
    "mask_token": "mask_token",
}


def read_tokenizer(folder: Path, family: str) -> TokenizerSpec:
    """The tokenizer of a folder."""
    return read_spec(folder, "wordpiece", tokenizer_settings(folder))


def tokenizer_settings(folder: Path) -> dict[str, Any]:
    """The tokenizer's rules: tokenizer_config.json, and tokenizer.json where that leaves one open."""
    stated = read_optional_json(folder / "tokenizer_config.json")
    normalizer = read_optional_json(folder / "tokenizer.json").get("normalizer")
    if not isinstance(normalizer, dict) or normalizer.get("type") != "BertNormalizer":
        normalizer = {}
    special = {ours: stated[theirs] for theirs, ours in _TOKENS.items() if isinstance(stated.get(theirs), str)}
    cjk = stated.get("tokenize_chinese_chars", normalizer.get("handle_chinese_chars", True))
    return {
        **special,
        "lowercase": bool(stated.get("do_lower_case", normalizer.get("lowercase", True))),
        "strip_accents": stated.get("strip_accents", normalizer.get("strip_accents")),
        "split_on_cjk": bool(cjk),
    }
