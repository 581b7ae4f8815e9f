"""Qwen2 (Yang et al. 2024, arXiv 2407.10671): Llama's decoder with biases on queries, keys and values; also Qwen2.5."""

import dataclasses

from tftransformer.models.families import llama
from tftransformer.models.families.family import Family, HuggingFace, TokenizerFacts
from tftransformer.models.families.names.tables import DECODER_BLOCK, Rule

_BIASES = tuple(
    Rule(f"{DECODER_BLOCK}/self_attention/{ours}/bias", (f"layers.{{i}}.self_attn.{theirs}_proj.bias",))
    for ours, theirs in (("query", "q"), ("key", "k"), ("value", "v"))
)
FAMILY = Family(
    name="qwen2",
    title="Qwen2",
    architecture="decoder",
    defaults={**llama.DEFAULTS, "qkv_bias": True, "layer_norm_epsilon": 1e-6},
    tokenizer=TokenizerFacts("byte_bpe", ("<|endoftext|>",) * 5, split="cl100k_digits", nfc=True),
    huggingface=HuggingFace(
        model_type="qwen2",
        classes="Qwen2",
        prefix="model.",
        language_model="ForCausalLM",
        table=dataclasses.replace(
            llama.TABLE, name="Hugging Face's Qwen2", rules=(*llama.TABLE.rules, *_BIASES)
        ),
        settings={name: field for name, field in llama.SETTINGS.items() if name != "head_dim"},
        defaults={
            **llama.SIZES, "vocab_size": 151936, "intermediate_size": 22016, "num_key_value_heads": 32,
            "max_position_embeddings": 32768,
        },
        required={"use_sliding_window": False},
        fixed={"dropout": 0.0},
        rotary=True,
    ),
)  # fmt: skip
