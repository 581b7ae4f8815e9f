"""T5 (Raffel et al. 2020, arXiv 1910.10683): an encoder-decoder without biases whose positions are buckets of distances."""

from typing import Any

from tftransformer.models.families.family import Family, HuggingFace, TokenizerFacts
from tftransformer.models.families.names import huggingface
from tftransformer.models.families.names.tables import DECODER_BLOCK, ENCODER_BLOCK, Ignored, Rule, Table

DEFAULTS: dict[str, Any] = {
    "position": "relative_buckets",
    "position_offset": 0,
    "num_segments": 0,
    "activation": "relu",
    "use_bias": False,
    "norm": "rms",
    "normalize_first": True,
    "embedding_norm": False,
    "scale_embeddings": False,
    "scale_attention": False,
    "scale_logits": True,
    "layer_norm_epsilon": 1e-6,
    "share_embeddings": True,
}
# What there is no token for starts with the one that pads, as T5's targets do; nothing is masked by a token.
SPECIAL = ("<unk>", "<pad>", "<pad>", "</s>", "<pad>")
# A layer's feed-forward half, by the address of a product inside it and its name.
PLAIN = {"intermediate": "DenseReluDense.wi", "output": "DenseReluDense.wo"}


def _attention(address: str, norm: str, layer: str, name: str) -> tuple[Rule, ...]:
    parts = ("query", "key", "value", "output")
    return (
        *(Rule(f"{address}/{part}/kernel", (f"{layer}.{name}.{part[0]}.weight",), "transpose") for part in parts),
        Rule(f"{norm}/scale", (f"{layer}.layer_norm.weight",)),
    )


def _feed_forward(block: str, layer: str, products: dict[str, str]) -> tuple[Rule, ...]:
    return (
        *(
            Rule(f"{block}/feed_forward/{part}/kernel", (f"{layer}.{name}.weight",), "transpose")
            for part, name in products.items()
        ),
        Rule(f"{block}/feed_forward_norm/scale", (f"{layer}.layer_norm.weight",)),
    )


def table(name: str, products: dict[str, str], head: tuple[Rule, ...] = ()) -> Table:
    """The names of tensors, with those of the feed-forward halves and of the head of a version."""
    encoder, decoder = "encoder.block.{i}.layer", "decoder.block.{i}.layer"
    bias = "block.0.layer.0.SelfAttention.relative_attention_bias.weight"
    own, cross = f"{DECODER_BLOCK}/self_attention", f"{DECODER_BLOCK}/cross_attention"
    return Table(
        name=name,
        prefixes=("",),
        rules=(
            Rule("embeddings/token/embeddings", ("shared.weight", "encoder.embed_tokens.weight")),
            Rule("position_bias/embeddings", (f"encoder.{bias}",)),
            Rule("decoder_position_bias/embeddings", (f"decoder.{bias}",)),
            *_attention(
                f"{ENCODER_BLOCK}/attention", f"{ENCODER_BLOCK}/attention_norm", f"{encoder}.0", "SelfAttention"
            ),
            *_feed_forward(ENCODER_BLOCK, f"{encoder}.1", products),
            Rule("final_norm/scale", ("encoder.final_layer_norm.weight",)),
            *_attention(own, f"{own}_norm", f"{decoder}.0", "SelfAttention"),
            *_attention(cross, f"{cross}_norm", f"{decoder}.1", "EncDecAttention"),
            *_feed_forward(DECODER_BLOCK, f"{decoder}.2", products),
            Rule("decoder_final_norm/scale", ("decoder.final_layer_norm.weight",)),
            *head,
        ),
        ignored=(
            Ignored(r"(encoder|decoder)\.embed_tokens\.weight", huggingface.TIED_TOKENS),
            Ignored(r"lm_head\.weight", huggingface.TIED_TOKENS),
            Ignored(r"decoder\.block\.0\.layer\.1\.EncDecAttention\.relative_attention_bias\.weight", "never used"),
            Ignored(r"(classification_head|qa_outputs|classifier)\..*", "the head of another task"),
        ),
    )


SETTINGS = {
    "vocab_size": "vocabulary_size",
    "num_layers": "num_layers",
    "num_decoder_layers": "num_decoder_layers",
    "d_model": "hidden_dim",
    "num_heads": "num_heads",
    "d_kv": "head_dim",
    "d_ff": "intermediate_dim",
    "n_positions": "max_sequence_length",
    "relative_attention_num_buckets": "relative_buckets",
    "relative_attention_max_distance": "relative_max_distance",
    "dropout_rate": "dropout",
    "layer_norm_epsilon": "layer_norm_epsilon",
}
SIZES: dict[str, Any] = {
    "vocab_size": 32128,
    "num_layers": 6,
    "num_decoder_layers": None,  # as many as the encoder's
    "d_model": 512,
    "num_heads": 8,
    "d_kv": 64,
    "d_ff": 2048,
    "n_positions": 512,
    "relative_attention_num_buckets": 32,
    "relative_attention_max_distance": 128,
    "dropout_rate": 0.1,
    "layer_norm_epsilon": 1e-6,
    "decoder_start_token_id": 0,
}

FAMILY = Family(
    name="t5",
    title="T5",
    architecture="encoder_decoder",
    defaults=DEFAULTS,
    tokenizer=TokenizerFacts("sentencepiece", SPECIAL, split=None, add_start_token=False),
    huggingface=HuggingFace(
        model_type="t5",
        classes="T5",
        prefix="",
        language_model="ForConditionalGeneration",
        table=table("Hugging Face's T5", PLAIN),
        settings=SETTINGS,
        defaults={**SIZES, "feed_forward_proj": "relu"},
        required={"is_encoder_decoder": True, "feed_forward_proj": "relu", "tie_word_embeddings": True},
        fixed={"tie_embeddings": True, "scale_logits": True},
        activation="feed_forward_proj",
        begin=("decoder_start_token_id",),
    ),
)
