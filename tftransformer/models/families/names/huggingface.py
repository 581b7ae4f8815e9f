"""Hugging Face's idioms, in which the tables of its encoder families are written: rules, settings, their defaults."""

import dataclasses
from typing import Any

from tftransformer.models.families.names.tables import ENCODER_BLOCK, Ignored, Rule, Table

TIED_TOKENS = "the token table once more, or its bias"
NOT_LOADED = (
    Ignored(r"(embeddings\.)?position_ids", "the numbers 0, 1, 2, …, which are not weights"),
    Ignored(r"(embeddings\.)?token_type_ids", "zeros, which are not weights"),
    Ignored(r"qa_outputs\..*", "the head of question answering, another task"),
)

# Their settings <-> ours.
SETTINGS: dict[str, str] = {
    "vocab_size": "vocabulary_size",
    "num_hidden_layers": "num_layers",
    "hidden_size": "hidden_dim",
    "num_attention_heads": "num_heads",
    "intermediate_size": "intermediate_dim",
    "max_position_embeddings": "max_sequence_length",
    "type_vocab_size": "num_segments",
    "hidden_dropout_prob": "dropout",
    "attention_probs_dropout_prob": "attention_dropout",
    "layer_norm_eps": "layer_norm_epsilon",
}
# What their configuration classes assume for a setting that a file leaves out.
SIZES: dict[str, Any] = {
    "vocab_size": 30522,
    "num_hidden_layers": 12,
    "hidden_size": 768,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
    "max_position_embeddings": 512,
    "type_vocab_size": 2,
    "hidden_dropout_prob": 0.1,
    "attention_probs_dropout_prob": 0.1,
    "layer_norm_eps": 1e-12,
    "hidden_act": "gelu",
}


def dense(address: str, name: str, may_differ: bool = False, outer: bool = False) -> tuple[Rule, ...]:
    """torch keeps a dense kernel as (out, in)."""
    return (
        Rule(f"{address}/kernel", (f"{name}.weight",), "transpose", may_differ, outer),
        Rule(f"{address}/bias", (f"{name}.bias",), may_differ=may_differ, outer=outer),
    )


def norm(address: str, name: str, outer: bool = False) -> tuple[Rule, ...]:
    """Files converted from TensorFlow's first release kept its gamma and beta."""
    return (
        Rule(f"{address}/gamma", (f"{name}.weight", f"{name}.gamma"), outer=outer),
        Rule(f"{address}/beta", (f"{name}.bias", f"{name}.beta"), outer=outer),
    )


def of_tokens(table: Table, pretrained_pooler: bool) -> Table:
    """The table of a family's token classifiers: a plain `classifier`, whatever the head over whole texts is made of."""
    dropped = "head/.*" if pretrained_pooler else "(head|pooler)/.*"
    table = table.without(dropped, "the head reads the vector of each token")
    return dataclasses.replace(
        table, rules=(*dense("head/logits", "classifier", may_differ=True, outer=True), *table.rules)
    )


def embeddings(name: str) -> tuple[Rule, ...]:
    """The three tables, of which a family may lack one, and the norm on their sum."""
    return (
        Rule("embeddings/token/embeddings", (f"{name}.word_embeddings.weight",)),
        Rule("embeddings/position/embeddings", (f"{name}.position_embeddings.weight",)),
        Rule("embeddings/segment/embeddings", (f"{name}.token_type_embeddings.weight",)),
        *norm("embeddings/norm", f"{name}.LayerNorm"),
    )


def encoder_blocks(layer: str) -> tuple[Rule, ...]:
    """BERT's blocks, which RoBERTa and ELECTRA took over name by name."""
    return (
        *dense(f"{ENCODER_BLOCK}/attention/query", f"{layer}.attention.self.query"),
        *dense(f"{ENCODER_BLOCK}/attention/key", f"{layer}.attention.self.key"),
        *dense(f"{ENCODER_BLOCK}/attention/value", f"{layer}.attention.self.value"),
        *dense(f"{ENCODER_BLOCK}/attention/output", f"{layer}.attention.output.dense"),
        *norm(f"{ENCODER_BLOCK}/attention_norm", f"{layer}.attention.output.LayerNorm"),
        *dense(f"{ENCODER_BLOCK}/feed_forward/intermediate", f"{layer}.intermediate.dense"),
        *dense(f"{ENCODER_BLOCK}/feed_forward/output", f"{layer}.output.dense"),
        *norm(f"{ENCODER_BLOCK}/feed_forward_norm", f"{layer}.output.LayerNorm"),
    )
