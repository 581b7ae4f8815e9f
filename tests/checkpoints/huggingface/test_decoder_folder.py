"""Folders of Hugging Face's with a decoder: read as a task, written for transformers, and what does not fit."""

import json

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import tftransformer as tt
from tftransformer.checkpoints.adaptation import adapt
from tftransformer.checkpoints.describe import describe
from tftransformer.errors import TransformerError
from tftransformer.patterns import addresses
from tftransformer.tasks.loading import load
from tftransformer.text.byte_bpe_files import byte_characters, merges_bytes, vocabulary_json_bytes
from tftransformer.text.spec import TokenizerSpec

PROMPTS = ["the cat", "a", "the the cat sat"]
END = "<|endoftext|>"
MERGES = [("t", "h"), ("th", "e"), ("Ġ", "the"), ("a", "t"), ("Ġ", "c"), ("Ġc", "at")]


def tokenizer():
    """A tokenizer as GPT-2's: bytes, merges, and one special token at the end."""
    pieces = (*byte_characters(), *(left + right for left, right in MERGES), END)
    roles = dict.fromkeys(("unknown_token", "pad_token", "start_token", "separator_token", "mask_token"), END)
    stored = {"vocab.json": vocabulary_json_bytes(pieces), "merges.txt": merges_bytes([" ".join(m) for m in MERGES])}
    return TokenizerSpec("byte_bpe", pieces, {**roles, "pair_separators": 1}, stored).build()


@pytest.fixture(scope="module")
def model():
    known = tokenizer()
    config = tt.TransformerConfig(
        "gpt2", vocabulary_size=known.vocabulary_size, num_layers=2, hidden_dim=16, num_heads=2, intermediate_dim=24,
        max_sequence_length=24,
    )  # fmt: skip
    task = tt.CausalLM(config, known)
    rng = np.random.default_rng(4)
    for variable in addresses(task).values():
        variable.assign(rng.normal(size=variable.shape) * 0.3)
    return task


@pytest.fixture
def folder(model, tmp_path):
    model.save_to_preset(tmp_path / "there", format="huggingface")
    return tmp_path / "there"


def same(one, other):
    theirs = addresses(other)
    for name, variable in addresses(one).items():
        np.testing.assert_array_equal(np.array(variable), np.array(theirs[name]), name)
    np.testing.assert_array_equal(one.generate(PROMPTS, max_new_tokens=5), other.generate(PROMPTS, max_new_tokens=5))


def refused(call, *arguments, **options):
    with pytest.raises(TransformerError) as caught:
        call(*arguments, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_round_trip_is_bit_equal(model, folder):
    again = tt.CausalLM.from_preset(folder)
    assert again.config == model.config and again.tokenizer.spec() == model.tokenizer.spec()
    assert not again.load_summary.newly_initialized and not again.load_summary.ignored
    assert again.recommended_hparams == {"learning_rate": 5e-5, "epochs": 3}
    same(model, again)
    assert type(load(folder)) is tt.CausalLM
    stated = json.loads((folder / "config.json").read_text())
    assert (stated["architectures"], stated["n_embd"], stated["n_inner"]) == (["GPT2LMHeadModel"], 16, 24)
    tokens = load_file(folder / "model.safetensors")
    assert tokens["transformer.h.0.attn.c_attn.weight"].shape == (16, 48) and "lm_head.weight" not in tokens


def test_older_files_load(model, folder):
    """Without the prefix, with the masks that torch kept among the weights, with the table once more."""
    tensors = load_file(folder / "model.safetensors")
    bare = {name.removeprefix("transformer."): value for name, value in tensors.items()}
    bare |= {"h.0.attn.bias": np.ones((1, 1, 24, 24), "uint8"), "h.1.attn.masked_bias": np.float32([-1e4])}
    save_file({**bare, "lm_head.weight": bare["wte.weight"].copy()}, folder / "model.safetensors")
    stated = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**stated, "n_inner": 24, "summary_type": "cls_index"}))
    (folder / "special_tokens_map.json").unlink()
    (folder / "tokenizer_config.json").unlink()
    same(model, tt.CausalLM.from_preset(folder))


def test_what_a_file_leaves_unsaid(folder):
    from tftransformer.checkpoints.huggingface.settings import config_of

    config = config_of({"model_type": "gpt2"})
    assert (config.hidden_dim, config.intermediate_dim, config.vocabulary_size) == (768, 3072, 50257)


def test_another_task_on_it(folder):
    assert refused(tt.TextClassifier.from_preset, folder, labels=["a", "b"]) == (
        f"a TextClassifier needs a preset with an encoder; {folder} holds a decoder"
    )
    assert refused(tt.load_preset(folder).build_encoder).endswith("holds a decoder and no encoder")
    assert refused(tt.Seq2Seq.from_preset, folder).startswith("a Seq2Seq needs a preset with a decoder of its kind")
    name = "bert_12x192_en_uncased"
    assert refused(tt.CausalLM.from_preset, name) == (
        f"a CausalLM needs a preset with a decoder of its kind; {name} has none"
    )


def test_it_is_described(model, folder):
    text = str(describe(folder))
    assert "2 decoder blocks 3,920 (1,960 each)" in text and "pooling" not in text
    assert describe(folder).parameters["total"] == model.count_params()
    assert refused(adapt, tt.load_preset(folder), layers=1).endswith("holds a decoder")


def test_our_folder_of_a_decoder_is_no_encoder_either(model, tmp_path):
    model.save_to_preset(tmp_path / "ours")
    assert "needs a preset with an encoder" in refused(
        tt.TextClassifier.from_preset, tmp_path / "ours", labels=["a", "b"]
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"transformer.h.1.attn.c_attn.bias": np.zeros(47, "float32")}, "missing in it"),
        ({"transformer.h.1.attn.c_attn.weight": np.zeros((16, 51), "float32")}, "is (16, 17) there and (16, 16) in"),
        ({"transformer.h.1.attn.c_proj.weight": None}, "decoder_block_1/self_attention/output/kernel (h.1.attn.c_proj"),
        ({"transformer.h.2.ln_1.weight": np.zeros(16, "float32")}, "that the model has no place for: transformer.h.2"),
    ],
)
def test_damage_is_one_line(folder, change, message):
    tensors = {**load_file(folder / "model.safetensors"), **change}
    save_file({name: value for name, value in tensors.items() if value is not None}, folder / "model.safetensors")
    assert message in refused(tt.CausalLM.from_preset, folder)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"scale_attn_by_inverse_layer_idx": True}, "scale_attn_by_inverse_layer_idx must be False; got True"),
        ({"add_cross_attention": True}, "add_cross_attention must be False; got True"),
        ({"activation_function": "mish"}, "activation_function must be one of"),
        ({"n_head": 3}, "config.json: hidden_dim must be"),
    ],
)
def test_what_cannot_be_loaded(folder, settings, message):
    stated = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**stated, **settings}))
    assert message in refused(tt.CausalLM.from_preset, folder)


def test_what_they_cannot_express(model, tmp_path):
    config = model.config.replace(position="rotary")
    task = tt.CausalLM(config, model.tokenizer)
    found = refused(task.save_to_preset, tmp_path / "x", format="huggingface")
    assert found == "Hugging Face's GPT2 must have position 'learned'; the model's is 'rotary'"
    task = tt.CausalLM(model.config, model.tokenizer)
    task.apply(tt.LoRA(rank=2))
    assert "has no place for" in refused(task.save_to_preset, tmp_path / "x", format="huggingface")
    assert "did you mean 'huggingface'" in refused(task.save_to_preset, tmp_path / "x", format="hugging_face")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.live
def test_transformers_loads_it_and_agrees(model, folder):
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    theirs, report = transformers.AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True)
    assert not report["missing_keys"] and not report["unexpected_keys"] and not report["mismatched_keys"]
    words = transformers.AutoTokenizer.from_pretrained(folder)
    for prompt in PROMPTS:
        ids = words(prompt, return_tensors="pt").input_ids
        assert ids[0].tolist() == model.tokenizer.encode(prompt)
        # Theirs begins with the prompt; ours with the token that parts documents.
        ids = torch.cat([torch.tensor([[words.bos_token_id]]), ids], dim=1)
        given = {"token_ids": ids.numpy().astype("int32"), "padding_mask": np.ones(ids.shape, "int32")}
        with torch.no_grad():
            np.testing.assert_allclose(model(given), theirs.eval()(ids).logits.numpy(), atol=2e-5)
        new = theirs.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=6, do_sample=False)
        expected = words.decode(new[0, ids.shape[1] :], skip_special_tokens=True)
        assert model.generate([prompt], max_new_tokens=6) == [expected]
