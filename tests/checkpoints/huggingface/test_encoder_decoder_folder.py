"""Folders of Hugging Face's with an encoder-decoder: read as a task, written for transformers, and what does not fit."""

import json

import numpy as np
import pytest
import tensorflow as tf
from safetensors.numpy import load_file, save_file

import tftransformer as tt
from tftransformer.checkpoints.describe import describe
from tftransformer.errors import TransformerError
from tftransformer.models.generation import BeamSearch, Greedy
from tftransformer.patterns import addresses
from tftransformer.tasks.loading import load
from tftransformer.text.byte_bpe_files import byte_characters, merges_bytes, vocabulary_json_bytes
from tftransformer.text.sentencepiece_model import PieceType, UnigramModel, model_bytes
from tftransformer.text.spec import TokenizerSpec

SOURCES = ["the cat", "a", "the the cat sat", "cat at the"]
MERGES = [("t", "h"), ("th", "e"), ("Ġ", "the"), ("a", "t"), ("Ġ", "c"), ("Ġc", "at")]
ROLES = {
    "start_token": "<s>", "pad_token": "<pad>", "separator_token": "</s>", "unknown_token": "<unk>", "mask_token": "<mask>",
}  # fmt: skip


def byte_bpe():
    """A tokenizer as BART's."""
    roles = list(ROLES.values())
    pieces = (*roles[:4], *byte_characters(), *(left + right for left, right in MERGES), roles[4])
    stored = {"vocab.json": vocabulary_json_bytes(pieces), "merges.txt": merges_bytes([" ".join(m) for m in MERGES])}
    return TokenizerSpec("byte_bpe", pieces, {**ROLES, "pair_separators": 2}, stored).build()


def unigram():
    """A tokenizer as T5's: no token before a source, and none for masks."""
    control, words = (
        ("<pad>", "</s>", "<unk>"),
        ("\u2581the", "\u2581cat", "\u2581", "at", "s", *"abcdefghijklmnopqrstuvwxyz"),
    )
    pieces = (*control, *dict.fromkeys(words), "<extra_id_0>")
    plain = len(pieces) - 4
    kinds = (PieceType.CONTROL, PieceType.CONTROL, PieceType.UNKNOWN, *[PieceType.NORMAL] * plain, PieceType.CONTROL)
    scores = (0.0, 0.0, 0.0, *(-1.0 - 0.1 * i for i in range(plain)), 0.0)
    stored = {"spiece.model": model_bytes(UnigramModel(pieces, scores, kinds, b""))}
    roles = dict(zip(ROLES, ("<pad>", "<pad>", "</s>", "<unk>", "<pad>"), strict=True))
    settings = {
        **roles, "lowercase": False, "strip_accents": False, "straighten_quotes": False, "add_prefix_space": True,
        "pair_separators": 1, "add_start_token": False,
    }  # fmt: skip
    return TokenizerSpec("sentencepiece", pieces, settings, stored).build()


T5 = {"head_dim": 12, "relative_buckets": 8, "relative_max_distance": 12}
MADE = {
    # family -> tokenizer, tokens that targets begin with, other choices
    "bart": (byte_bpe, ("</s>", "<s>"), {}),
    "t5": (unigram, ("<pad>",), T5),
    "t5_v1_1": (unigram, ("<pad>",), {**T5, "tie_embeddings": False}),
}


def build(family):
    make, begin, choices = MADE[family]
    tokenizer = make()
    config = tt.TransformerConfig(
        family, vocabulary_size=tokenizer.vocabulary_size, num_layers=2, num_decoder_layers=1, hidden_dim=16, num_heads=2,
        intermediate_dim=24, max_sequence_length=24, **choices,
    )  # fmt: skip
    task = tt.Seq2Seq(config, tokenizer, begin_tokens=begin)
    rng = np.random.default_rng(4)
    for variable in addresses(task).values():
        variable.assign(rng.normal(size=variable.shape) * 0.3)
    return task


@pytest.fixture(scope="module", params=list(MADE))
def model(request):
    return build(request.param)


@pytest.fixture
def folder(model, tmp_path):
    model.save_to_preset(tmp_path / "there", format="huggingface")
    return tmp_path / "there"


def same(one, other):
    theirs = addresses(other)
    for name, variable in addresses(one).items():
        np.testing.assert_array_equal(np.array(variable), np.array(theirs[name]), name)
    for search in (Greedy(), BeamSearch(3)):
        texts = one.generate(SOURCES, search=search, max_new_tokens=6)
        assert texts == other.generate(SOURCES, search=search, max_new_tokens=6)


def refused(call, *arguments, **options):
    with pytest.raises(TransformerError) as caught:
        call(*arguments, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_round_trip_is_bit_equal(model, folder):
    again = tt.Seq2Seq.from_preset(folder)
    assert again.config == model.config and again.tokenizer.spec() == model.tokenizer.spec()
    assert again.begin == model.begin and again.target_tokenizer is again.tokenizer
    assert not again.load_summary.newly_initialized and not again.load_summary.ignored
    assert again.recommended_hparams == {"learning_rate": 5e-5, "epochs": 3}
    same(model, again)
    assert type(load(folder)) is tt.Seq2Seq


def test_our_own_folder_keeps_how_targets_begin(model, tmp_path):
    model.save_to_preset(tmp_path / "ours")
    again = tt.load(tmp_path / "ours")
    assert again.begin == model.begin
    same(model, again)


def test_a_source_has_the_tokens_of_its_family(model):
    tokenizer = model.tokenizer
    starts = [tokenizer.start_id] if model.config.family == "bart" else []
    found = model.preprocess(["the cat"]).tokens.token_ids.tolist()
    assert found == [*starts, *tokenizer.encode("the cat"), tokenizer.separator_id]
    assert model.preprocessor.graph(tf.constant(["the cat"]))["token_ids"].numpy().tolist() == [found]


def test_it_learns_what_it_is_to_write(model):
    examples = model.preprocess(["a cat"], ["the cat"])
    inputs, targets, weights = examples.batch(np.array([0]), 8)
    ids, end = model.tokenizer.encode("the cat"), model.tokenizer.separator_id
    assert inputs["decoder_token_ids"][0].tolist() == [*model.begin, *ids]
    assert targets[0].tolist() == [*model.begin[1:], *ids, end] and np.all(weights == 1)


def test_it_is_described_and_no_encoder(model, folder):
    assert describe(folder).parameters["total"] == model.count_params()
    assert "needs a preset with an encoder" in refused(tt.TextClassifier.from_preset, folder, labels=["a", "b"])
    assert refused(tt.CausalLM.from_preset, folder).startswith("a CausalLM needs a preset with a decoder of its kind")


def test_what_does_not_fit_is_one_line(model, folder):
    stated = json.loads((folder / "config.json").read_text())

    def with_settings(**changes):
        (folder / "config.json").write_text(json.dumps({**stated, **changes}))
        return refused(tt.Seq2Seq.from_preset, folder)

    assert "decoder_start_token_id must be a number of a token" in with_settings(decoder_start_token_id=10**6)
    if model.config.family == "bart":
        assert with_settings(decoder_ffn_dim=7).endswith("decoder_ffn_dim must be encoder_ffn_dim, 24; got 7")
        assert "decoder_attention_heads must be encoder_attention_heads, 2; got 4" in with_settings(
            decoder_attention_heads=4
        )


def test_a_file_without_an_output_projection_has_the_token_table_there(model, folder):
    tensors = load_file(folder / "model.safetensors")
    if tensors.pop("lm_head.weight", None) is None:
        pytest.skip("the family has no projection of its own")
    save_file(tensors, folder / "model.safetensors")
    found = addresses(tt.Seq2Seq.from_preset(folder))
    np.testing.assert_array_equal(np.array(found["lm_head/kernel"]).T, np.array(found["embeddings/token/embeddings"]))


def test_an_unknown_version_and_a_tokenizer_without_rules_are_one_line(model, folder):
    if not model.config.family.startswith("t5"):
        pytest.skip("for T5")
    stated = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**stated, "feed_forward_proj": "gated-silu"}))
    assert "feed_forward_proj must be 'relu'; got 'gated-silu'" in refused(tt.Seq2Seq.from_preset, folder)
    (folder / "config.json").write_text(json.dumps(stated))
    (folder / "tokenizer.json").unlink()
    assert "must hold tokenizer.json, which says how texts are normalised" in refused(tt.Seq2Seq.from_preset, folder)


def test_a_file_from_before_the_bias_loads(model, folder):
    tensors = load_file(folder / "model.safetensors")
    if tensors.pop("final_logits_bias", None) is None:
        pytest.skip("the family has no bias on its logits")
    save_file(tensors, folder / "model.safetensors")
    again = tt.Seq2Seq.from_preset(folder)
    assert not again.config.logits_bias and set(addresses(model)) - set(addresses(again)) == {"logits_bias/bias"}


@pytest.mark.live
def test_transformers_reads_and_writes_the_same(model, folder, tmp_path):
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    theirs, info = transformers.AutoModelForSeq2SeqLM.from_pretrained(folder, output_loading_info=True)
    assert not any(info[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys")), info
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    batch = tokenizer(SOURCES, padding=True, return_tensors="pt")
    expected = {row: model.preprocess([text]).tokens.token_ids.tolist() for row, text in enumerate(SOURCES)}
    for row, ids in enumerate(batch["input_ids"].tolist()):
        assert [i for i in ids if i != tokenizer.pad_token_id] == expected[row]
    for options, search in (({}, Greedy()), ({"num_beams": 3}, BeamSearch(3))):
        with torch.no_grad():
            ids = theirs.eval().generate(
                **{name: batch[name] for name in ("input_ids", "attention_mask")}, max_new_tokens=8, do_sample=False,
                bad_words_ids=[[i] for i in sorted(banned(model))] or None, **options,
            )  # fmt: skip
        texts = tokenizer.batch_decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        assert model.generate(SOURCES, search=search, max_new_tokens=8) == [text.removeprefix(" ") for text in texts]
    theirs.save_pretrained(tmp_path / "theirs")
    tokenizer.save_pretrained(tmp_path / "theirs")
    same(model, tt.Seq2Seq.from_preset(tmp_path / "theirs"))


def banned(model):
    """What our tasks never write and theirs may: special tokens that are not the end."""
    return {token for constraint in model.never_written() for token in constraint.token_ids} - set(model.begin)
