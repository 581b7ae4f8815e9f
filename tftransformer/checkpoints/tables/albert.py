"""ALBERT (Lan et al. 2019, arXiv 1909.11942): one block for all layers, factorised embeddings."""

from tftransformer.checkpoints.huggingface.layout import Layout
from tftransformer.checkpoints.rules import Ignored, Rule, Table
from tftransformer.checkpoints.tables.parts import (
    ENCODER_BLOCK,
    NOT_WEIGHTS,
    SETTINGS,
    SIZES,
    TIED_TOKENS,
    dense,
    embeddings,
    norm,
)

_LAYER = "encoder.albert_layer_groups.{i}.albert_layers.0"

HUGGING_FACE = Table(
    name="Hugging Face's ALBERT",
    prefixes=("", "albert."),
    rules=(
        *embeddings("embeddings"),
        *dense("embeddings/projection", "encoder.embedding_hidden_mapping_in"),
        *dense(f"{ENCODER_BLOCK}/attention/query", f"{_LAYER}.attention.query"),
        *dense(f"{ENCODER_BLOCK}/attention/key", f"{_LAYER}.attention.key"),
        *dense(f"{ENCODER_BLOCK}/attention/value", f"{_LAYER}.attention.value"),
        *dense(f"{ENCODER_BLOCK}/attention/output", f"{_LAYER}.attention.dense"),
        *norm(f"{ENCODER_BLOCK}/attention_norm", f"{_LAYER}.attention.LayerNorm"),
        *dense(f"{ENCODER_BLOCK}/feed_forward/intermediate", f"{_LAYER}.ffn"),
        *dense(f"{ENCODER_BLOCK}/feed_forward/output", f"{_LAYER}.ffn_output"),
        *norm(f"{ENCODER_BLOCK}/feed_forward_norm", f"{_LAYER}.full_layer_layer_norm"),
        *dense("pooler/dense", "pooler"),
        *dense("head/logits", "classifier", may_differ=True, outer=True),
        *dense("lm_head/dense", "predictions.dense", outer=True),
        *norm("lm_head/norm", "predictions.LayerNorm", outer=True),
        Rule("lm_head/bias", ("predictions.bias",), outer=True),
    ),
    ignored=(
        *NOT_WEIGHTS,
        Ignored(r"predictions\.decoder\..*", TIED_TOKENS),
        Ignored(
            r"(predictions|sop_classifier)\..*", "the heads of pretraining (masked words, sentence order)"
        ),
        Ignored(r"classifier\..*", "the model has no classification head"),
        Ignored(r"qa_outputs\..*", "the head of question answering, another task"),
        Ignored(r"pooler\..*", "the model has no pooler"),
    ),
)

LAYOUT = Layout(
    family="albert",
    model_type="albert",
    classes="Albert",
    prefix="albert.",
    table=HUGGING_FACE,
    settings={**SETTINGS, "embedding_size": "embedding_dim", "num_hidden_groups": "num_distinct_blocks"},
    defaults={
        **SIZES,
        "vocab_size": 30000,
        "hidden_size": 4096,
        "num_attention_heads": 64,
        "intermediate_size": 16384,
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
        "hidden_act": "gelu_new",
        "embedding_size": 128,
        "num_hidden_groups": 1,
    },
    required={"inner_group_num": 1},
    head_dropout="classifier_dropout_prob",
)
