"""Tokenizers of Hugging Face folders: every layout of files, what cannot be reproduced, damage, and the way back."""

import base64
import copy
import json
import struct
from pathlib import Path

import pytest

from tftransformer.checkpoints.huggingface.tokenizer import read_tokenizer, write_tokenizer
from tftransformer.errors import TransformerError
from tftransformer.models.families import families_of, family_of_tokenizer
from tftransformer.text.sentencepiece_model import PieceType, UnigramModel, model_bytes, parse_model, to_fairseq

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "un", "##do", "a"]
BYTES = ["<s>", "<pad>", "</s>", "<unk>", "a", "b", "ab", "\u0120", "<mask>"]
ROBERTA = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")
# A normalizer's map: its trie's root leads by "z" (122) to a node whose value, beside it, is the text at 0.
UNITS = [0] * 122 + [122 | 1 << 8 | 1 << 10, 1 << 31]
CHARSMAP = struct.pack("<I124I", 496, *UNITS) + b"y\0"
N, U, C = PieceType.NORMAL, PieceType.UNKNOWN, PieceType.CONTROL
XLMR = UnigramModel(
    ("<unk>", "<s>", "</s>", "\u2581", "a", "\u2581a"), (0.0, 0.0, 0.0, -1.0, -2.0, -2.5), (U, C, C, N, N, N)
)
ALBERT = UnigramModel(
    ("<pad>", "<unk>", "[CLS]", "[SEP]", "[MASK]", "\u2581", "a"), (0.0,) * 5 + (-1.0, -2.0), (C, U, C, C, C, N, N)
)
WORDPIECE_JSON = {
    "added_tokens": [{"id": i, "content": WORDS[i], "special": True} for i in range(5)],
    "normalizer": {
        "type": "BertNormalizer",
        "clean_text": True,
        "handle_chinese_chars": False,
        "strip_accents": None,
        "lowercase": False,
    },
    "pre_tokenizer": {"type": "BertPreTokenizer"},
    "post_processor": None,
    "model": {
        "type": "WordPiece",
        "unk_token": "[UNK]",
        "continuing_subword_prefix": "##",
        "max_input_chars_per_word": 50,
        "vocab": {token: i for i, token in enumerate(WORDS)},
    },
}
BYTE_JSON = {
    "added_tokens": [{"id": 8, "content": "<mask>", "special": True}],
    "normalizer": None,
    "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True},
    "post_processor": {"type": "RobertaProcessing", "trim_offsets": False, "add_prefix_space": True},
    "model": {"type": "BPE", "vocab": {token: i for i, token in enumerate(BYTES)}, "merges": [["a", "b"]]},
}
METASPACE = {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "always"}
UNIGRAM_JSON = {
    "added_tokens": [{"id": i, "content": ALBERT.pieces[i], "special": True} for i in range(5)],
    "normalizer": {
        "type": "Sequence",
        "normalizers": [
            {"type": "Replace", "pattern": {"String": "``"}, "content": '"'},
            {"type": "Replace", "pattern": {"String": "''"}, "content": '"'},
            {"type": "NFKD"},
            {"type": "StripAccents"},
            {"type": "Lowercase"},
            {"type": "Precompiled", "precompiled_charsmap": base64.b64encode(CHARSMAP).decode()},
            {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": " "},
        ],
    },
    "pre_tokenizer": {"type": "Sequence", "pretokenizers": [{"type": "WhitespaceSplit"}, METASPACE]},
    "post_processor": None,
    "model": {
        "type": "Unigram",
        "unk_id": 1,
        "vocab": [list(row) for row in zip(ALBERT.pieces, ALBERT.scores, strict=True)],
    },
}
BACKENDS = {"bert": WORDPIECE_JSON, "roberta": BYTE_JSON, "albert": UNIGRAM_JSON}


def changed(backend, path, value):
    """A copy of a tokenizer.json with one entry replaced."""
    backend = copy.deepcopy(backend)
    *parents, last = path.split(".")
    part = backend
    for name in parents:
        part = part[int(name) if isinstance(part, list) else name]
    part[int(last) if isinstance(part, list) else last] = value
    return backend


def write(folder, **files):
    """Files by name; `_` stands for a dot before the ending."""
    for name, content in files.items():
        path = folder / ".".join(name.rsplit("_", 1))
        if not isinstance(content, bytes):
            content = content if isinstance(content, str) else json.dumps(content)
            content = content.encode("utf-8", "surrogatepass")
        path.write_bytes(content)
    return folder


def error_of(folder, family):
    with pytest.raises(TransformerError) as error:
        read_tokenizer(folder, family)
    message = str(error.value)
    assert "\n" not in message
    return message.replace(f"{folder}/", "").replace(str(folder), "folder")


@pytest.mark.parametrize("family", ["bert", "distilbert", "electra"])
def test_wordpiece_files(tmp_path, family):
    write(
        tmp_path,
        vocab_txt="\n".join(WORDS),
        tokenizer_config_json={"do_lower_case": False, "cls_token": {"content": "a"}},
        tokenizer_json={"normalizer": {"type": "BertNormalizer", "strip_accents": True, "handle_chinese_chars": False}},
    )
    spec = read_tokenizer(tmp_path, family)
    assert (spec.kind, spec.vocabulary) == ("wordpiece", tuple(WORDS))
    assert spec.settings == {
        "unknown_token": "[UNK]",
        "pad_token": "[PAD]",
        "start_token": "a",
        "separator_token": "[SEP]",
        "mask_token": "[MASK]",
        "lowercase": False,
        "strip_accents": True,
        "split_on_cjk": False,
    }


def test_byte_bpe_files(tmp_path):
    vocabulary = {token: i for i, token in enumerate(BYTES)}
    write(
        tmp_path,
        vocab_json=vocabulary,
        merges_txt="#version: 0.2\na b\n",
        tokenizer_config_json={"trim_offsets": False},
    )
    spec = read_tokenizer(tmp_path, "roberta")
    assert (spec.kind, spec.vocabulary, spec.settings["trim_offsets"]) == ("byte_bpe", tuple(BYTES), False)
    assert spec.build().encode("ab") == [6]


@pytest.mark.parametrize("family", ["xlm_roberta", "bert"])
def test_xlm_robertas_model_file_moves_up(tmp_path, family):
    write(tmp_path, **{"sentencepiece.bpe_model": model_bytes(XLMR)})
    spec = read_tokenizer(tmp_path, family)
    assert spec.vocabulary == (*ROBERTA[:4], *XLMR.pieces[3:], "<mask>")
    assert spec.settings["pair_separators"] == 2 and not spec.settings["lowercase"]
    tokenizer = spec.build()
    assert tokenizer.encode("a aa") == [6, 6, 5] and tokenizer.mask_id == 7


def test_alberts_model_file(tmp_path):
    write(
        tmp_path, spiece_model=model_bytes(ALBERT), tokenizer_config_json={"keep_accents": True, "do_lower_case": False}
    )
    spec = read_tokenizer(tmp_path, "albert")
    assert spec.vocabulary == ALBERT.pieces
    switches = {
        name: spec.settings[name] for name in ("lowercase", "strip_accents", "straighten_quotes", "pair_separators")
    }
    assert switches == {"lowercase": False, "strip_accents": False, "straighten_quotes": True, "pair_separators": 1}


def test_wordpiece_from_tokenizer_json_alone(tmp_path):
    spec = read_tokenizer(write(tmp_path, tokenizer_json=WORDPIECE_JSON), "bert")
    assert spec.vocabulary == tuple(WORDS) and spec.files["vocab.txt"].decode().split() == WORDS
    wanted = {"lowercase": False, "strip_accents": None, "split_on_cjk": False, "max_word_characters": 50}
    assert {name: spec.settings[name] for name in wanted} == wanted
    assert spec.build().encode("undo a") == [5, 6, 7]


@pytest.mark.parametrize("merges", [["a b"], [["a", "b"]]])
def test_byte_bpe_from_tokenizer_json_alone(tmp_path, merges):
    write(tmp_path, tokenizer_json=changed(BYTE_JSON, "model.merges", merges))
    spec = read_tokenizer(tmp_path, "roberta")
    wanted = {"add_prefix_space": True, "trim_offsets": False, "pair_separators": 2}
    assert {name: spec.settings[name] for name in wanted} == wanted
    assert spec.build().encode("ab") == [7, 6]


def test_unigram_from_tokenizer_json_before_the_model_file(tmp_path):
    write(tmp_path, tokenizer_json=UNIGRAM_JSON, spiece_model=b"broken")
    spec = read_tokenizer(tmp_path, "albert")
    assert parse_model(spec.files["spiece.model"]) == UnigramModel(ALBERT.pieces, ALBERT.scores, ALBERT.types, CHARSMAP)
    names = ("lowercase", "strip_accents", "straighten_quotes", "add_prefix_space")
    assert all(spec.settings[name] for name in names)


@pytest.mark.parametrize(
    ("normalizer", "switches"),
    [
        (None, ()),
        ({"type": "Lowercase"}, ("lowercase",)),
        ({"type": "Sequence", "normalizers": [{"type": "Strip", "strip_left": False, "strip_right": True}]}, ()),
        ({"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": "\u2581"}, ()),
    ],
)
def test_unigram_normalizers_that_are_known(tmp_path, normalizer, switches):
    backend = changed(changed(UNIGRAM_JSON, "normalizer", normalizer), "pre_tokenizer", METASPACE)
    spec = read_tokenizer(write(tmp_path, tokenizer_json=backend), "albert")
    for name in ("lowercase", "strip_accents", "straighten_quotes"):
        assert spec.settings[name] == (name in switches)


@pytest.mark.parametrize("count", [1, 2])
def test_separators_of_a_pair_are_read(tmp_path, count):
    def part(kind, name):
        return {kind: {"id": name, "type_id": 0}}

    pair = [part("Sequence", "A"), *[part("SpecialToken", "[SEP]")] * count, part("Sequence", "B")]
    backend = changed(UNIGRAM_JSON, "post_processor", {"type": "TemplateProcessing", "pair": pair})
    assert read_tokenizer(write(tmp_path, tokenizer_json=backend), "albert").settings["pair_separators"] == count
    pair[1] = part("SpecialToken", "x")
    write(tmp_path, tokenizer_json=changed(backend, "post_processor.pair", pair))
    assert "post_processor must put one or two '[SEP]' between two texts" in error_of(tmp_path, "albert")


@pytest.mark.parametrize("family", ["bert", "roberta", "albert"])
def test_special_tokens_that_were_added_stand_at_the_end(tmp_path, family):
    backend = BACKENDS[family]
    size = len(backend["model"]["vocab"])
    more = {"id": size, "content": "[NEW]", "special": True}
    write(tmp_path, tokenizer_json={**backend, "added_tokens": [*backend["added_tokens"], more]})
    tokenizer = read_tokenizer(tmp_path, family).build()
    assert tokenizer.vocabulary[size:] == ("[NEW]",) and size not in tokenizer.encode("[NEW]")
    write(tmp_path, tokenizer_json={**backend, "added_tokens": [{**more, "id": size + 1}]})
    assert f"'[NEW]' is {size + 1}, not {size}" in error_of(tmp_path, family)
    write(tmp_path, tokenizer_json={**backend, "added_tokens": [{**more, "special": False}]})
    assert "the added token '[NEW]' is no special token, and would cut texts" in error_of(tmp_path, family)


def test_special_tokens_added_in_other_files(tmp_path):
    write(
        tmp_path,
        vocab_txt="\n".join(WORDS),
        added_tokens_json={"[A]": 8},
        special_tokens_map_json={"additional_special_tokens": ["[A]"]},
        tokenizer_config_json={"added_tokens_decoder": {"9": {"content": "[B]", "special": True}}},
    )
    spec = read_tokenizer(tmp_path, "bert")
    assert spec.vocabulary[8:] == ("[A]", "[B]") and spec.build().vocabulary == spec.vocabulary
    write(tmp_path, tokenizer_config_json={"added_tokens_decoder": {"x": {"content": "[B]"}}})
    assert error_of(tmp_path, "bert") == "folder: an added token must have an id and a text; got 'x', '[B]'"


IMPOSSIBLE = [
    ("bert", "model.type", "WordLevel", "model must be one of WordPiece, BPE, Unigram; got 'WordLevel'"),
    ("bert", "model", None, "model must be one of WordPiece, BPE, Unigram; got None"),
    ("bert", "model.continuing_subword_prefix", "@@", "continuing_subword_prefix must be '##'; got '@@'"),
    ("bert", "normalizer", {"type": "NFC"}, "the normalizer cannot be reproduced exactly; got NFC"),
    ("bert", "pre_tokenizer", {"type": "Whitespace"}, "the pre_tokenizer cannot be reproduced exactly; got Whitespace"),
    ("bert", "model.vocab", [], "vocab must map tokens to ids; got list"),
    ("bert", "model.vocab.a", 9, "vocabulary ids must be 0 to 7, one for each token; tokenizer.json gives 'a' 9"),
    ("bert", "model.vocab.a", 6, "vocabulary ids must differ; tokenizer.json gives 6 to '##do' and 'a'"),
    ("roberta", "normalizer", {"type": "NFD"}, "the normalizer cannot be reproduced exactly; got NFD"),
    ("roberta", "pre_tokenizer.use_regex", False, "the pre_tokenizer cannot be reproduced exactly; got ByteLevel"),
    ("roberta", "model.dropout", 0.1, "dropout must not be set; got 0.1"),
    ("roberta", "model.merges", [["a", "c"]], "merges must use tokens of the vocabulary; merge 1, 'a c', needs 'c'"),
    ("albert", "model.byte_fallback", True, "byte_fallback must be false; got True"),
    ("albert", "model.vocab.5", ["x"], "vocab must hold pairs of token and score; got ['x']"),
    (
        "albert",
        "model.vocab.5",
        ["a", -1.0],
        "vocabulary must hold each token once; tokenizer.json has 'a' as ids 5 and 6",
    ),
    ("albert", "model.vocab", [], "unk_id must be one of the 0 tokens; got 1"),
    ("albert", "model.unk_id", None, "unk_id must be one of the 7 tokens; got None"),
    ("albert", "normalizer.normalizers.2", {"type": "NFC"}, "the normalizer cannot be reproduced exactly; got NFC"),
    ("albert", "normalizer.normalizers.5.precompiled_charsmap", "?", "precompiled_charsmap must be base64"),
    (
        "albert",
        "normalizer.normalizers.5.precompiled_charsmap",
        "AAAA",
        "the normalizer's map is damaged; its trie has -1 of 3",
    ),
    (
        "albert",
        "pre_tokenizer",
        {"type": "Whitespace"},
        "the pre_tokenizer cannot be reproduced exactly; got Whitespace",
    ),
    (
        "albert",
        "pre_tokenizer.pretokenizers.1.prepend_scheme",
        "first",
        "prepend_scheme must be 'always' or 'never'; got 'first'",
    ),
]


@pytest.mark.parametrize(("family", "path", "value", "message"), IMPOSSIBLE)
def test_what_cannot_be_reproduced_is_named(tmp_path, family, path, value, message):
    write(tmp_path, tokenizer_json=changed(BACKENDS[family], path, value))
    assert error_of(tmp_path, family).removeprefix("tokenizer.json: ").startswith(message)


def test_a_tokenizer_of_another_kind_than_its_files(tmp_path):
    write(tmp_path, tokenizer_json=WORDPIECE_JSON, spiece_model=model_bytes(ALBERT))
    assert error_of(tmp_path, "albert") == "tokenizer.json: model must be Unigram; got WordPiece"


@pytest.mark.parametrize(
    ("files", "family", "message"),
    [
        ({}, "bert", "folder has no tokenizer: neither vocab.txt nor tokenizer.json"),
        ({}, "roberta", "folder has no tokenizer: neither vocab.json and merges.txt nor tokenizer.json"),
        ({}, "t6", "family must be one of bert, distilbert, roberta, xlm_roberta, electra, albert, gpt2, llama, mistral, qwen2, bart, t5, t5_v1_1; got 't6'"),
        ({"tokenizer_json": "{"}, "bert", "tokenizer.json must be JSON; line 1: "),
        ({"tokenizer_json": ""}, "bert", "tokenizer.json must be JSON; line 1: "),
        ({"tokenizer_json": "[" * 100_000}, "bert", "tokenizer.json must be JSON; "),
        ({"tokenizer_json": "[]"}, "bert", "tokenizer.json must hold a JSON object; got list"),
        ({"vocab_txt": ""}, "bert", "vocabulary must hold one token a line; vocab.txt is empty"),
        ({"vocab_txt": "a", "tokenizer_config_json": {"do_lower_case": "no"}}, "bert", "tokenizer_config.json: do_lower_case must be true or false; got 'no'"),
        ({"vocab_txt": "a", "tokenizer_config_json": {"strip_accents": 1}}, "bert", "tokenizer_config.json: strip_accents must be true, false or null; got 1"),
        ({"spiece_model": b""}, "albert", "spiece.model must be a SentencePiece model; it is empty"),
        ({"spiece_model": model_bytes(ALBERT)[:9]}, "albert", "spiece.model is cut short or damaged: 14 bytes announced, 7 left"),
    ],
)  # fmt: skip
def test_damage_is_one_line(tmp_path, files, family, message):
    assert error_of(write(tmp_path, **files), family).startswith(message)


def specs(tmp_path):
    """A tokenizer of each family."""
    read = {}
    for family in families_of("huggingface", "encoder"):
        kind = {"roberta": "roberta", "albert": "albert"}.get(family, "bert")
        folder = tmp_path / f"source_{family}"
        folder.mkdir()
        if family == "xlm_roberta":
            write(folder, **{"sentencepiece.bpe_model": model_bytes(XLMR)})
        else:
            backend = BACKENDS[kind]
            if kind == "albert":
                backend = changed(backend, "normalizer.normalizers", backend["normalizer"]["normalizers"][:5])
            elif kind == "bert":
                backend = changed(backend, "model.max_input_chars_per_word", 100)
            write(folder, tokenizer_json=backend)
        read[family] = read_tokenizer(folder, family)
    return read


def test_what_is_written_reads_back(tmp_path):
    for family, spec in specs(tmp_path).items():
        folder = tmp_path / f"target_{family}"
        folder.mkdir()
        write_tokenizer(folder, spec.build() if family == "bert" else spec, family)
        again = read_tokenizer(folder, family)
        default = {"max_word_characters": 100}
        assert {**default, **again.settings} == {**default, **spec.settings}, family
        assert (again.kind, again.vocabulary) == (spec.kind, spec.vocabulary)
        (folder / "tokenizer.json").unlink(missing_ok=True)
        assert read_tokenizer(folder, family).vocabulary == spec.vocabulary


def test_the_model_file_written_for_xlm_roberta_is_the_original(tmp_path):
    write_tokenizer(tmp_path, specs(tmp_path)["xlm_roberta"], "xlm_roberta")
    assert parse_model((tmp_path / "sentencepiece.bpe.model").read_bytes()) == XLMR
    assert to_fairseq(XLMR, family_of_tokenizer("sentencepiece", fairseq_ids=True).tokenizer.roles).pieces[3] == "<unk>"


@pytest.mark.live
@pytest.mark.parametrize("family", list(families_of("huggingface", "encoder")))
@pytest.mark.parametrize("odd", [False, True])
def test_live_transformers_reads_what_is_written(tmp_path, family, odd):
    transformers = pytest.importorskip("transformers")
    spec = specs(tmp_path)[family]
    if odd and spec.kind == "sentencepiece":  # settings that neither of their two classes has
        spec.settings["lowercase"] = spec.settings["straighten_quotes"] = family == "xlm_roberta"
    folder = tmp_path / "target"
    folder.mkdir()
    write_tokenizer(folder, spec, family)
    model_type = {"xlm_roberta": "xlm-roberta"}.get(family, family)
    Path(folder, "config.json").write_text(json.dumps({"model_type": model_type}))
    theirs, ours = transformers.AutoTokenizer.from_pretrained(folder), spec.build()
    assert theirs.convert_ids_to_tokens(range(len(theirs))) == list(spec.vocabulary)
    for text in ("a undo ab aA", "``a'' A", " a  a ", "ba"):
        assert theirs(text, add_special_tokens=False)["input_ids"] == ours.encode(text), text
    pair = [*ours.encode("a"), *[ours.separator_id] * ours.pair_separators, *ours.encode("ab"), ours.separator_id]
    assert theirs("a", "ab")["input_ids"] == [ours.start_id, *pair]
    assert (theirs.pad_token_id, theirs.mask_token_id, theirs.unk_token_id) == (
        ours.pad_id,
        ours.mask_id,
        ours.unknown_id,
    )
