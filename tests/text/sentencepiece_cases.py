"""Tiny SentencePiece models and texts for them, shared by the golden generator and the tests."""

import dataclasses
import functools
import lzma
from pathlib import Path

import tokenizer_cases as cases

from tftransformer.models.families import family_of_tokenizer
from tftransformer.text.sentencepiece import SentencePieceTokenizer
from tftransformer.text.sentencepiece_model import model_bytes, parse_model, to_fairseq

HERE = Path(__file__).parent
ALBERT = {"lowercase": True, "strip_accents": True, "straighten_quotes": True, "pair_separators": 1}
SETTINGS = {
    "albert": {**ALBERT, "start_token": "[CLS]", "separator_token": "[SEP]", "mask_token": "[MASK]"},
    "xlm_roberta": {},
}
# Start, pad, separator, unknown and mask.
SPECIAL = {
    "albert": ("[CLS]", "<pad>", "[SEP]", "<unk>", "[MASK]"),
    "xlm_roberta": ("<s>", "<pad>", "</s>", "<unk>", "<mask>"),
}
FAIRSEQ = family_of_tokenizer("sentencepiece", fairseq_ids=True).tokenizer.roles
TEXTS = [
    *cases.TEXTS,
    "literal <s> </s> <pad> <mask> <unk> a<unk>b [CLS] [MASK]",
    "``quotes'' `one' '''three''' ````four```` '' ``",
    "\u2581sign a\u2581b \u2581\u2581 c\u2581 \u2581",
    "clusters \ufb01\u0301 a\u0301\u0302 \u2122\ufe0f \u2122\u0301x e\u0302\u0301 \r\n\u2026\u0308",
    "\u0001\u0002begins with what vanishes, \u0001 holds it\u0001, ends with it \ufb01\u0001",
    "\ufeffbyte order mark \u0600\u2122\u0301 \u00a9\u200d\u2122\u0301 \u0915\u094d\u0958\u0301",
    "\u0344\u0301 \u1100\u1161\u0301 \u1161\u11a8\u0344\u0301 \ud55c\u0301 \U000e0001\u0344\u0301",
    "ababab" * 1_700,
    "the quick brown fox jumps over the lazy dog " * 40,
]
# Texts in which one name of a special token stands: there Hugging Face finds the token.
WRITTEN = [i for i, text in enumerate(TEXTS) if text.startswith("literal")]


@functools.cache
def model_file(family):
    """The tiny model as its library trained it, with the map that all its default models share."""
    charsmap = lzma.decompress((HERE / "sentencepiece_nmt_nfkc.charsmap.xz").read_bytes())
    stored = parse_model((HERE / f"sentencepiece_{family}.model").read_bytes())
    return model_bytes(dataclasses.replace(stored, charsmap=charsmap))


@functools.cache
def model(family):
    stored = parse_model(model_file(family))
    return stored if family == "albert" else to_fairseq(stored, FAIRSEQ)


@functools.cache
def tokenizer(family):
    return SentencePieceTokenizer(model_bytes(model(family)), **SETTINGS[family])


def block_texts(block, size=cases.BLOCK):
    """Every code point of a block at the beginning of a text, between letters and among combining marks."""
    points = [c for c in range(block * size, (block + 1) * size) if not 0xD800 <= c < 0xE000]
    texts = []
    for start in range(0, len(points), 16):
        part = [chr(c) for c in points[start : start + 16]]
        texts.append(" ".join(f"{c}\u0301x a{c}b e\u0301{c}\u0301" for c in part))
    return texts
