"""keras-hub's idioms (its old name: keras-nlp), in which the tables of its encoder families are written."""

from typing import Any

from tftransformer.models.families.names.tables import ENCODER_BLOCK, Ignored, Rule

POOLER = Rule("pooler/dense/{path}", ("pooled_dense/{path}",))
HEAD = Rule("head/logits/{path}", ("logits/{path}",), may_differ=True)
NO_HEAD = Ignored(r"logits/.*", "the model has no classification head")
NO_POOLER = Ignored(r"pooled_dense/.*", "the model has no pooler")

# Arguments of their backbones <-> our fields.
SIZES: dict[str, str] = {
    name: name
    for name in (
        "vocabulary_size", "num_layers", "hidden_dim", "num_heads", "intermediate_dim", "max_sequence_length",
        "dropout",
    )
}  # fmt: skip
SEGMENTS: dict[str, str] = {**SIZES, "num_segments": "num_segments"}
# GELU is by its tanh approximation in keras-hub's BERT, ELECTRA and ALBERT, and exact in the others, whatever
# the checkpoint was trained with.
BERT_FIXED: dict[str, Any] = {"activation": "gelu_tanh", "layer_norm_epsilon": 1e-12}
# Its RoBERTa counts positions from row 0: the conversion left out the two rows before the first position's, and
# the only row of the segment table, which is zeros in RoBERTa's own checkpoints.
ROBERTA_FIXED: dict[str, Any] = {
    "activation": "gelu",
    "layer_norm_epsilon": 1e-5,
    "num_segments": 0,
    "position_offset": 0,
}


def embeddings(outer: str = "") -> tuple[Rule, ...]:
    """The three tables, of which a family may lack one, and the norm on their sum."""
    return (
        Rule("embeddings/token/embeddings", (f"{outer}token_embedding/embeddings",)),
        Rule("embeddings/position/embeddings", (f"{outer}position_embedding/embeddings",)),
        Rule("embeddings/segment/embeddings", ("segment_embedding/embeddings",)),
        Rule("embeddings/norm/{path}", ("embeddings_layer_norm/{path}",)),
    )


def encoder_blocks(block: str = "transformer_layer_{i}") -> tuple[Rule, ...]:
    """The blocks of all its encoders, with kernels (D, N, H) and (N, H, D)."""
    attention, feed = f"{block}/self_attention_layer", f"{block}/feedforward"
    output = f"{attention}/attention_output"
    return (
        *(
            Rule(f"{ENCODER_BLOCK}/attention/{part}/{kind}", (f"{attention}/{part}/{kind}",), "merge_last")
            for part in ("query", "key", "value")
            for kind in ("kernel", "bias")
        ),
        Rule(f"{ENCODER_BLOCK}/attention/output/kernel", (f"{output}/kernel",), "merge_first"),
        Rule(f"{ENCODER_BLOCK}/attention/output/bias", (f"{output}/bias",)),
        Rule(f"{ENCODER_BLOCK}/attention_norm/{{path}}", (f"{attention}_norm/{{path}}",)),
        Rule(f"{ENCODER_BLOCK}/feed_forward/intermediate/{{path}}", (f"{feed}_intermediate_dense/{{path}}",)),
        Rule(f"{ENCODER_BLOCK}/feed_forward/output/{{path}}", (f"{feed}_output_dense/{{path}}",)),
        Rule(f"{ENCODER_BLOCK}/feed_forward_norm/{{path}}", (f"{feed}_layer_norm/{{path}}",)),
    )
