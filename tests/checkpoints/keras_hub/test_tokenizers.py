"""Tokenizers of keras-hub's folders."""

import pytest

from tftransformer.checkpoints import load_preset
from tftransformer.text.sentencepiece_model import PieceType, UnigramModel, model_bytes


def test_wordpiece_settings(bert, change, one_line):
    assert load_preset(bert).tokenizer.settings == {"lowercase": False, "strip_accents": None}
    change(bert / "tokenizer.json", "config", lowercase=True, strip_accents=True, oov_token="a")
    expected = {"lowercase": True, "strip_accents": True, "unknown_token": "a"}
    assert load_preset(bert).tokenizer.settings == expected
    change(bert / "tokenizer.json", "config", suffix_indicator="@@")
    assert "tokenizer.json: suffix_indicator must be '##'; got '@@'" in one_line(bert)
    change(bert / "tokenizer.json", class_name="T5Tokenizer")
    assert "it describes a T5Tokenizer" in one_line(bert)
    change(bert / "tokenizer.json", class_name="AlbertTokenizer")
    change(bert / "tokenizer.json", "config", suffix_indicator="##")
    assert "has no assets/tokenizer/vocabulary.spm" in one_line(bert)


def test_byte_bpe_files(roberta, change, one_line):
    change(roberta / "tokenizer.json", "config", add_prefix_space=True)
    tokenizer = load_preset(roberta).tokenizer
    assert (tokenizer.kind, tokenizer.settings) == ("byte_bpe", {"add_prefix_space": True})
    assert tokenizer.vocabulary == ("<s>", "<pad>", "</s>", "<unk>", "a", "b", "ab", "<mask>")
    (roberta / "assets/tokenizer/merges.txt").unlink()
    assert "has no assets/tokenizer/merges.txt" in one_line(roberta)


@pytest.mark.parametrize(("piece", "uncased"), [("▁ab", True), ("▁Ab", False)])
def test_alberts_rules_are_for_uncased_vocabularies(piece, uncased, bert, change):
    pieces = ("<pad>", "<unk>", "[CLS]", "[SEP]", "[MASK]", piece)
    control, normal = PieceType.CONTROL, PieceType.NORMAL
    types = (control, PieceType.UNKNOWN, control, control, control, normal)
    data = model_bytes(UnigramModel(pieces, (0.0,) * 5 + (-1.0,), types))
    (bert / "assets/tokenizer/vocabulary.spm").write_bytes(data)
    change(bert / "tokenizer.json", class_name="AlbertTokenizer")
    # An encoder of one family with the tokenizer of another: keras-hub has such presets.
    tokenizer = load_preset(bert).tokenizer
    assert (tokenizer.kind, tokenizer.vocabulary, tokenizer.files) == ("sentencepiece", pieces, {"spiece.model": data})
    for rule in ("lowercase", "strip_accents", "straighten_quotes"):
        assert tokenizer.settings[rule] is uncased
