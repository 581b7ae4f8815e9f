"""BART (Lewis et al. 2019, arXiv 1910.13461): an encoder-decoder that learned to restore texts."""

from typing import Any

from tftransformer.models.families.family import Family, HuggingFace, TokenizerFacts
from tftransformer.models.families.names import huggingface
from tftransformer.models.families.names.tables import DECODER_BLOCK, ENCODER_BLOCK, Ignored, Rule, Table

DEFAULTS: dict[str, Any] = {
    "position": "learned",
    "position_offset": 2,  # fairseq's convention: the first rows are of no position
    "num_segments": 0,
    "activation": "gelu",
    "normalize_first": False,
    "embedding_norm": True,
    "scale_embeddings": False,
    "layer_norm_epsilon": 1e-5,
    "share_embeddings": True,
    "logits_bias": True,
}
SPECIAL = ("<unk>", "<pad>", "<s>", "</s>", "<mask>")


def _attention(address: str, name: str, norm: str, layer: str) -> tuple[Rule, ...]:
    return (
        *huggingface.dense(f"{address}/query", f"{layer}.{name}.q_proj"),
        *huggingface.dense(f"{address}/key", f"{layer}.{name}.k_proj"),
        *huggingface.dense(f"{address}/value", f"{layer}.{name}.v_proj"),
        *huggingface.dense(f"{address}/output", f"{layer}.{name}.out_proj"),
        *huggingface.norm(f"{address}_norm", f"{layer}.{norm}"),
    )


def _feed_forward(block: str, layer: str) -> tuple[Rule, ...]:
    return (
        *huggingface.dense(f"{block}/feed_forward/intermediate", f"{layer}.fc1"),
        *huggingface.dense(f"{block}/feed_forward/output", f"{layer}.fc2"),
        *huggingface.norm(f"{block}/feed_forward_norm", f"{layer}.final_layer_norm"),
    )


# The blocks of both sides.
BLOCKS = (
    *_attention(f"{ENCODER_BLOCK}/attention", "self_attn", "self_attn_layer_norm", "encoder.layers.{i}"),
    *_feed_forward(ENCODER_BLOCK, "encoder.layers.{i}"),
    *_attention(f"{DECODER_BLOCK}/self_attention", "self_attn", "self_attn_layer_norm", "decoder.layers.{i}"),
    *_attention(f"{DECODER_BLOCK}/cross_attention", "encoder_attn", "encoder_attn_layer_norm", "decoder.layers.{i}"),
    *_feed_forward(DECODER_BLOCK, "decoder.layers.{i}"),
)
HEAD = (
    Rule("lm_head/kernel", ("lm_head.weight",), "transpose", outer=True),
    Rule("logits_bias/bias", ("final_logits_bias",), "row", outer=True),
)
NOT_LOADED = (
    Ignored(r"(encoder|decoder)\.embed_tokens\.weight", huggingface.TIED_TOKENS),
    Ignored(r"lm_head\.weight", huggingface.TIED_TOKENS),
    Ignored(r"(classification_head|qa_outputs)\..*", "the head of another task"),
)
TABLE = Table(
    name="Hugging Face's BART",
    prefixes=("", "model."),
    rules=(
        Rule("embeddings/token/embeddings", ("shared.weight", "encoder.embed_tokens.weight")),
        Rule("embeddings/position/embeddings", ("encoder.embed_positions.weight",)),
        *huggingface.norm("embeddings/norm", "encoder.layernorm_embedding"),
        Rule("decoder_embeddings/position/embeddings", ("decoder.embed_positions.weight",)),
        *huggingface.norm("decoder_embeddings/norm", "decoder.layernorm_embedding"),
        *BLOCKS,
        *HEAD,
    ),
    ignored=NOT_LOADED,
)
SETTINGS = {
    "vocab_size": "vocabulary_size",
    "encoder_layers": "num_layers",
    "decoder_layers": "num_decoder_layers",
    "d_model": "hidden_dim",
    "encoder_attention_heads": "num_heads",
    "decoder_attention_heads": "num_heads",
    "encoder_ffn_dim": "intermediate_dim",
    "decoder_ffn_dim": "intermediate_dim",
    "max_position_embeddings": "max_sequence_length",
    "dropout": "dropout",
    "attention_dropout": "attention_dropout",
    "scale_embedding": "scale_embeddings",
    "tie_word_embeddings": "tie_embeddings",
}
SIZES: dict[str, Any] = {
    "vocab_size": 50265,
    "encoder_layers": 12,
    "decoder_layers": 12,
    "d_model": 1024,
    "encoder_attention_heads": 16,
    "decoder_attention_heads": 16,
    "encoder_ffn_dim": 4096,
    "decoder_ffn_dim": 4096,
    "max_position_embeddings": 1024,
    "dropout": 0.1,
    "attention_dropout": 0.0,
    "scale_embedding": False,
    "tie_word_embeddings": True,
    "activation_function": "gelu",
}

FAMILY = Family(
    name="bart",
    title="BART",
    architecture="encoder_decoder",
    defaults=DEFAULTS,
    tokenizer=TokenizerFacts("byte_bpe", SPECIAL, pair_separators=2),
    huggingface=HuggingFace(
        model_type="bart",
        classes="Bart",
        prefix="model.",
        language_model="ForConditionalGeneration",
        table=TABLE,
        settings=SETTINGS,
        defaults={**SIZES, "decoder_start_token_id": 2, "bos_token_id": 0},
        required={"is_encoder_decoder": True},
        activation="activation_function",
        begin=("decoder_start_token_id", "bos_token_id"),
    ),
)
