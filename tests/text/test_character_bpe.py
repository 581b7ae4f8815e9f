"""BPE over the characters of whole texts against Hugging Face's `tokenizers`."""

import json
import random

import pytest
import tensorflow as tf
from tokenizers import Tokenizer as Theirs

from tftransformer.checkpoints.huggingface.tokenizer import read_tokenizer
from tftransformer.checkpoints.huggingface.tokenizer_json import character_bpe_backend
from tftransformer.errors import TransformerError
from tftransformer.text.character_bpe import BYTES, CharacterBPETokenizer

SIGN = "\u2581"
MERGES = [
    "t h", "th e", f"{SIGN} the", f"{SIGN} {SIGN}", "a b", "b c", "ab c", f"{SIGN}{SIGN} {SIGN}{SIGN}", "é é", f"e {SIGN}", "中 文", "a a",
    "aa aa", f"{SIGN} a",
]  # fmt: skip
PIECES = (
    "<unk>", "<s>", "</s>", *BYTES, SIGN, *"abceht", "é", "中", "文", *dict.fromkeys(m.replace(" ", "") for m in MERGES)
)  # fmt: skip
KINDS = [(True, True), (True, False), (False, True), (False, False)]
ALPHABET = [
    "a",
    "b",
    "c",
    "e",
    "h",
    "t",
    "the",
    " ",
    " ",
    "  ",
    "é",
    "中",
    "文",
    "z",
    "😀",
    "\n",
    "\t",
    SIGN,
    "ß",
    "aaaa",
    "\u0800",
    "~",
]


def texts(count):
    draw = random.Random(0)
    return ["", " ", SIGN, *("".join(draw.choices(ALPHABET, k=draw.randrange(12))) for _ in range(count))]


def ours(prefix, always):
    return CharacterBPETokenizer(PIECES, MERGES, add_prefix_space=prefix, prefix_always=always)


@pytest.mark.parametrize(("prefix", "always"), KINDS)
def test_ids_are_those_of_the_library(prefix, always, tmp_path):
    tokenizer, given = ours(prefix, always), texts(4000)
    backend = character_bpe_backend(tokenizer.spec(), ["<unk>", "<s>", "</s>"])
    theirs = Theirs.from_str(json.dumps(backend))
    found = tokenizer.tokenize(given).to_list()
    for text, ids in zip(given, found, strict=True):
        assert ids == theirs.encode(text, add_special_tokens=False).ids, ascii(text)
        assert tokenizer.decode(ids) == theirs.decode(ids, skip_special_tokens=False), ascii(text)
    (tmp_path / "tokenizer.json").write_text(json.dumps(backend))
    stated = {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>"}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(stated))
    spec = read_tokenizer(tmp_path, "llama")
    again = spec.build()
    assert (again.add_prefix_space, again.prefix_always) == (prefix, always) and spec.kind == "character_bpe"
    assert again.tokenize(given).to_list() == found


@pytest.mark.parametrize(("prefix", "always"), KINDS)
def test_texts_alone_and_places(prefix, always):
    tokenizer, given = ours(prefix, always), texts(60)
    found = tokenizer.tokenize_with_offsets(tf.constant(given))
    for text, ids, begins, ends in zip(given, *(part.to_list() for part in found), strict=True):
        assert tokenizer.encode(text) == ids
        for number, begin, end in zip(ids, begins, ends, strict=True):
            piece = PIECES[number].replace(SIGN, " ")
            covered = text[begin:end].replace(SIGN, " ")
            # A byte stands for a part of its character, and the first blank may be the one that was put there.
            assert number < 259 or covered == piece or (begin == 0 and f" {covered}" == piece)


def test_the_ids_of_a_graph_are_those_of_the_host():
    tokenizer, given = ours(True, True), texts(50)
    graph = tf.function(tokenizer.tokenize, input_signature=[tf.TensorSpec([None], tf.string)])
    assert graph(tf.constant(given)).to_list() == tokenizer.tokenize(given).to_list()
    assert tokenizer.tokenize(tf.constant([], tf.string)).to_list() == []
    again = CharacterBPETokenizer.from_files(tokenizer.spec().settings, tokenizer.files())
    assert again.spec() == tokenizer.spec()
    texts_again = tokenizer.detokenize(tokenizer.tokenize(["the 中文 z😀", "a b"])).numpy()
    assert [text.decode() for text in texts_again] == ["the 中文 z😀", "a b"]


def test_what_does_not_fit_is_one_line(tmp_path):
    with pytest.raises(TransformerError, match="vocabulary must hold the 256 bytes; <0x07> is missing"):
        CharacterBPETokenizer([piece for piece in PIECES if piece != "<0x07>"], [])
    backend = character_bpe_backend(ours(True, True).spec(), ["<s>"])
    for name, value, message in (
        ("normalizer", {"type": "NFKC"}, "the normalizer cannot be reproduced exactly; got NFKC"),
        ("normalizer", None, "the pre_tokenizer cannot be reproduced exactly; got None"),
        ("pre_tokenizer", {"type": "Whitespace"}, "the normalizer cannot be reproduced exactly; got Sequence"),
    ):
        (tmp_path / "tokenizer.json").write_text(json.dumps({**backend, name: value}))
        with pytest.raises(TransformerError, match=message):
            read_tokenizer(tmp_path, "llama")
