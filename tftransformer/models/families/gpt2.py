"""GPT-2 (Radford et al. 2019): a pre-norm decoder with learned positions; all that is known of the family."""

from typing import Any

from tftransformer.models.families.family import Family, HuggingFace, TokenizerFacts
from tftransformer.models.families.names import huggingface
from tftransformer.models.families.names.tables import DECODER_BLOCK, Fused, Ignored, Rule, Table

DEFAULTS: dict[str, Any] = {
    "position": "learned",
    "position_offset": 0,
    "num_segments": 0,
    "activation": "gelu_tanh",
    "normalize_first": True,
    "embedding_norm": False,
    "scale_embeddings": False,
    "layer_norm_epsilon": 1e-5,
}
# Ends of documents are the one special token: what comes first, last, and where there is nothing.
SPECIAL = ("<|endoftext|>",) * 5

_LAYER = "h.{i}"


def _dense(address: str, name: str) -> tuple[Rule, ...]:
    """OpenAI's layer keeps a dense kernel as (in, out), as Keras does."""
    return Rule(f"{address}/kernel", (f"{name}.weight",)), Rule(f"{address}/bias", (f"{name}.bias",))


def _part(address: str, name: str, number: int) -> tuple[Rule, ...]:
    return (
        Rule(f"{address}/kernel", (f"{name}.weight[{number}]",)),
        Rule(f"{address}/bias", (f"{name}.bias[{number}]",)),
    )


HUGGING_FACE = Table(
    name="Hugging Face's GPT-2",
    prefixes=("", "transformer."),
    fused=tuple(Fused(f"{_LAYER}.attn.c_attn.{kind}", 3) for kind in ("weight", "bias")),
    rules=(
        Rule("decoder_embeddings/token/embeddings", ("wte.weight",)),
        Rule("decoder_embeddings/position/embeddings", ("wpe.weight",)),
        *huggingface.norm(f"{DECODER_BLOCK}/self_attention_norm", f"{_LAYER}.ln_1"),
        *_part(f"{DECODER_BLOCK}/self_attention/query", f"{_LAYER}.attn.c_attn", 0),
        *_part(f"{DECODER_BLOCK}/self_attention/key", f"{_LAYER}.attn.c_attn", 1),
        *_part(f"{DECODER_BLOCK}/self_attention/value", f"{_LAYER}.attn.c_attn", 2),
        *_dense(f"{DECODER_BLOCK}/self_attention/output", f"{_LAYER}.attn.c_proj"),
        *huggingface.norm(f"{DECODER_BLOCK}/feed_forward_norm", f"{_LAYER}.ln_2"),
        *_dense(f"{DECODER_BLOCK}/feed_forward/intermediate", f"{_LAYER}.mlp.c_fc"),
        *_dense(f"{DECODER_BLOCK}/feed_forward/output", f"{_LAYER}.mlp.c_proj"),
        *huggingface.norm("decoder_final_norm", "ln_f"),
        Rule("lm_head/kernel", ("lm_head.weight",), "transpose", outer=True),
    ),
    ignored=(
        Ignored(r"h\.\d+\.attn\.(masked_)?bias", "the causal mask, which is not a weight"),
        Ignored(r"lm_head\.weight", huggingface.TIED_TOKENS),
        Ignored(r"(score|classifier)\..*", "the head of another task"),
    ),
)

FAMILY = Family(
    name="gpt2",
    title="GPT-2's decoder",
    architecture="decoder",
    defaults=DEFAULTS,
    tokenizer=TokenizerFacts("byte_bpe", SPECIAL),
    huggingface=HuggingFace(
        model_type="gpt2",
        classes="GPT2",
        prefix="transformer.",
        language_model="LMHeadModel",
        table=HUGGING_FACE,
        settings={
            "vocab_size": "vocabulary_size",
            "n_layer": "num_layers",
            "n_embd": "hidden_dim",
            "n_head": "num_heads",
            "n_inner": "intermediate_dim",
            "n_positions": "max_sequence_length",
            "resid_pdrop": "dropout",
            "attn_pdrop": "attention_dropout",
            "layer_norm_epsilon": "layer_norm_epsilon",
            "tie_word_embeddings": "tie_embeddings",
        },
        defaults={
            "vocab_size": 50257,
            "n_layer": 12,
            "n_embd": 768,
            "n_head": 12,
            "n_inner": None,  # four times n_embd
            "n_positions": 1024,
            "resid_pdrop": 0.1,
            "attn_pdrop": 0.1,
            "layer_norm_epsilon": 1e-5,
            "tie_word_embeddings": True,
            "activation_function": "gelu_new",
        },
        required={"scale_attn_weights": True, "scale_attn_by_inverse_layer_idx": False},
        activation="activation_function",
    ),
)
