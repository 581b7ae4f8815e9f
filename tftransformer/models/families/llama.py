"""Llama (Touvron et al. 2023, arXiv 2302.13971): a decoder with rotary positions, RMS norms and gates; also SmolLM's."""

from typing import Any

from tftransformer.models.families.family import Family, HuggingFace, TokenizerFacts
from tftransformer.models.families.names import huggingface
from tftransformer.models.families.names.tables import DECODER_BLOCK, Ignored, Rule, Table

DEFAULTS: dict[str, Any] = {
    "position": "rotary",
    "position_offset": 0,
    "num_segments": 0,
    "activation": "silu",
    "gated": True,
    "use_bias": False,
    "norm": "rms",
    "normalize_first": True,
    "embedding_norm": False,
    "scale_embeddings": False,
    "layer_norm_epsilon": 1e-5,
}
_LAYER = "layers.{i}"


def _kernel(address: str, name: str) -> Rule:
    return Rule(f"{address}/kernel", (f"{name}.weight",), "transpose")


def _scale(address: str, name: str) -> Rule:
    return Rule(f"{address}/scale", (f"{name}.weight",))


TABLE = Table(
    name="Hugging Face's Llama",
    prefixes=("", "model."),
    rules=(
        Rule("decoder_embeddings/token/embeddings", ("embed_tokens.weight",)),
        _scale(f"{DECODER_BLOCK}/self_attention_norm", f"{_LAYER}.input_layernorm"),
        _kernel(f"{DECODER_BLOCK}/self_attention/query", f"{_LAYER}.self_attn.q_proj"),
        _kernel(f"{DECODER_BLOCK}/self_attention/key", f"{_LAYER}.self_attn.k_proj"),
        _kernel(f"{DECODER_BLOCK}/self_attention/value", f"{_LAYER}.self_attn.v_proj"),
        _kernel(f"{DECODER_BLOCK}/self_attention/output", f"{_LAYER}.self_attn.o_proj"),
        _scale(f"{DECODER_BLOCK}/feed_forward_norm", f"{_LAYER}.post_attention_layernorm"),
        _kernel(f"{DECODER_BLOCK}/feed_forward/gate", f"{_LAYER}.mlp.gate_proj"),
        _kernel(f"{DECODER_BLOCK}/feed_forward/intermediate", f"{_LAYER}.mlp.up_proj"),
        _kernel(f"{DECODER_BLOCK}/feed_forward/output", f"{_LAYER}.mlp.down_proj"),
        _scale("decoder_final_norm", "norm"),
        Rule("lm_head/kernel", ("lm_head.weight",), "transpose", outer=True),
    ),
    ignored=(
        Ignored(r"layers\.\d+\.self_attn\.rotary_emb\.inv_freq", "the wavelengths of rotary positions, no weights"),
        Ignored(r"lm_head\.weight", huggingface.TIED_TOKENS),
        Ignored(r"(score|classifier)\..*", "the head of another task"),
    ),
)
SETTINGS = {
    "vocab_size": "vocabulary_size",
    "num_hidden_layers": "num_layers",
    "hidden_size": "hidden_dim",
    "num_attention_heads": "num_heads",
    "num_key_value_heads": "num_key_value_heads",
    "head_dim": "head_dim",
    "intermediate_size": "intermediate_dim",
    "max_position_embeddings": "max_sequence_length",
    "attention_dropout": "attention_dropout",
    "rms_norm_eps": "layer_norm_epsilon",
    "tie_word_embeddings": "tie_embeddings",
}
SIZES: dict[str, Any] = {
    "vocab_size": 32000,
    "num_hidden_layers": 32,
    "hidden_size": 4096,
    "num_attention_heads": 32,
    "num_key_value_heads": None,  # as many as query heads
    "head_dim": None,  # hidden_size / num_attention_heads
    "intermediate_size": 11008,
    "max_position_embeddings": 2048,
    "attention_dropout": 0.0,
    "rms_norm_eps": 1e-6,
    "tie_word_embeddings": False,
    "hidden_act": "silu",
}

HUGGING_FACE = HuggingFace(
    model_type="llama",
    classes="Llama",
    prefix="model.",
    language_model="ForCausalLM",
    table=TABLE,
    settings=SETTINGS,
    defaults=SIZES,
    required={"attention_bias": False, "mlp_bias": False},
    fixed={"dropout": 0.0},
    rotary=True,
)
FAMILY = Family(
    name="llama",
    title="Llama",
    architecture="decoder",
    defaults=DEFAULTS,
    tokenizer=TokenizerFacts("byte_bpe", ("<|end_of_text|>",) * 5, split=None),
    huggingface=HUGGING_FACE,
)
