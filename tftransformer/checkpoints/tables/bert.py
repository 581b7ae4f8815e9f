"""BERT (Devlin et al. 2018, arXiv 1810.04805) as Hugging Face and keras-hub store it."""

from typing import Any

from tftransformer.checkpoints.rules import MERGE_FIRST, MERGE_LAST, TRANSPOSE, Ignored, Rule, Table


def _dense(address: str, name: str, may_differ: bool = False) -> tuple[Rule, ...]:
    """torch keeps a dense kernel as (out, in)."""
    return (
        Rule(f"{address}/kernel", (f"{name}.weight",), TRANSPOSE, may_differ),
        Rule(f"{address}/bias", (f"{name}.bias",), may_differ=may_differ),
    )


def _norm(address: str, name: str) -> tuple[Rule, ...]:
    """Files converted from TensorFlow's first release kept its gamma and beta."""
    return (
        Rule(f"{address}/gamma", (f"{name}.weight", f"{name}.gamma")),
        Rule(f"{address}/beta", (f"{name}.bias", f"{name}.beta")),
    )


_BLOCK = "encoder_block_{i}"
_LAYER = "encoder.layer.{i}"

HUGGING_FACE = Table(
    name="Hugging Face's BERT",
    prefixes=("", "bert."),
    rules=(
        Rule("embeddings/token/embeddings", ("embeddings.word_embeddings.weight",)),
        Rule("embeddings/position/embeddings", ("embeddings.position_embeddings.weight",)),
        Rule("embeddings/segment/embeddings", ("embeddings.token_type_embeddings.weight",)),
        *_norm("embeddings/norm", "embeddings.LayerNorm"),
        *_dense(f"{_BLOCK}/attention/query", f"{_LAYER}.attention.self.query"),
        *_dense(f"{_BLOCK}/attention/key", f"{_LAYER}.attention.self.key"),
        *_dense(f"{_BLOCK}/attention/value", f"{_LAYER}.attention.self.value"),
        *_dense(f"{_BLOCK}/attention/output", f"{_LAYER}.attention.output.dense"),
        *_norm(f"{_BLOCK}/attention_norm", f"{_LAYER}.attention.output.LayerNorm"),
        *_dense(f"{_BLOCK}/feed_forward/intermediate", f"{_LAYER}.intermediate.dense"),
        *_dense(f"{_BLOCK}/feed_forward/output", f"{_LAYER}.output.dense"),
        *_norm(f"{_BLOCK}/feed_forward_norm", f"{_LAYER}.output.LayerNorm"),
        *_dense("pooler/dense", "pooler.dense"),
        *_dense("head/logits", "classifier", may_differ=True),
    ),
    ignored=(
        Ignored(r"embeddings\.position_ids", "the numbers 0, 1, 2, …, which are not weights"),
        Ignored(r"embeddings\.token_type_ids", "zeros, which are not weights"),
        Ignored(r"cls\..*", "the heads of pretraining (masked words, next sentence)"),
        Ignored(r"qa_outputs\..*", "the head of question answering"),
        Ignored(r"classifier\..*", "the model has no such head"),
        Ignored(r"pooler\..*", "the model has no pooler"),
    ),
)

_HUB = "transformer_layer_{i}"
_HUB_ATTENTION = f"{_HUB}/self_attention_layer"
_HUB_OUTPUT = f"{_HUB_ATTENTION}/attention_output"
_HUB_FEED = f"{_HUB}/feedforward"

KERAS_HUB = Table(
    name="keras-hub's BERT",
    rules=(
        Rule("embeddings/token/embeddings", ("token_embedding/embeddings",)),
        Rule("embeddings/position/embeddings", ("position_embedding/embeddings",)),
        Rule("embeddings/segment/embeddings", ("segment_embedding/embeddings",)),
        Rule("embeddings/norm/{path}", ("embeddings_layer_norm/{path}",)),
        *(
            Rule(f"{_BLOCK}/attention/{part}/{kind}", (f"{_HUB_ATTENTION}/{part}/{kind}",), MERGE_LAST)
            for part in ("query", "key", "value")
            for kind in ("kernel", "bias")
        ),
        Rule(f"{_BLOCK}/attention/output/kernel", (f"{_HUB_OUTPUT}/kernel",), MERGE_FIRST),
        Rule(f"{_BLOCK}/attention/output/bias", (f"{_HUB_OUTPUT}/bias",)),
        Rule(f"{_BLOCK}/attention_norm/{{path}}", (f"{_HUB}/self_attention_layer_norm/{{path}}",)),
        Rule(f"{_BLOCK}/feed_forward/intermediate/{{path}}", (f"{_HUB_FEED}_intermediate_dense/{{path}}",)),
        Rule(f"{_BLOCK}/feed_forward/output/{{path}}", (f"{_HUB_FEED}_output_dense/{{path}}",)),
        Rule(f"{_BLOCK}/feed_forward_norm/{{path}}", (f"{_HUB_FEED}_layer_norm/{{path}}",)),
        Rule("pooler/dense/{path}", ("pooled_dense/{path}",)),
    ),
    ignored=(Ignored(r"pooled_dense/.*", "the model has no pooler"),),
)

# Their settings <-> ours.
HUGGING_FACE_SETTINGS: dict[str, str] = {
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
# What their configuration class assumes for a setting that a file leaves out.
HUGGING_FACE_DEFAULTS: dict[str, Any] = {
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
# Settings that change what the model computes in a way that has no counterpart here, with the only
# value that can be loaded.
HUGGING_FACE_REQUIRED: dict[str, Any] = {
    "position_embedding_type": "absolute",
    "is_decoder": False,
    "add_cross_attention": False,
}
HUGGING_FACE_ACTIVATIONS: dict[str, str] = {
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "relu": "relu",
    "silu": "silu",
    "swish": "silu",
}
HUGGING_FACE_TOKENS: dict[str, str] = {
    "unk_token": "unknown_token",
    "pad_token": "pad_token",
    "cls_token": "start_token",
    "sep_token": "separator_token",
    "mask_token": "mask_token",
}

KERAS_HUB_SETTINGS: dict[str, str] = {
    "vocabulary_size": "vocabulary_size",
    "num_layers": "num_layers",
    "hidden_dim": "hidden_dim",
    "num_heads": "num_heads",
    "intermediate_dim": "intermediate_dim",
    "max_sequence_length": "max_sequence_length",
    "num_segments": "num_segments",
    "dropout": "dropout",
}
# keras-hub's BERT computes GELU by its tanh approximation, whatever the checkpoint was trained with.
KERAS_HUB_FIXED: dict[str, Any] = {"activation": "gelu_tanh", "layer_norm_epsilon": 1e-12}


def encoder_shapes(config: Any) -> dict[str, tuple[int, ...]]:
    """The shape of every variable of the encoder that a configuration describes, by address.

    It lets a checkpoint be checked against its own configuration before a model takes any memory.

    Args:
        config: A `TransformerConfig` of the family "bert".
    """
    d, inner = config.hidden_dim, config.intermediate_dim
    heads = config.num_heads * config.head_dim
    shapes = {
        "embeddings/token/embeddings": (config.vocabulary_size, d),
        "embeddings/position/embeddings": (config.max_sequence_length, d),
        "embeddings/segment/embeddings": (config.num_segments, d),
        "embeddings/norm/gamma": (d,),
        "embeddings/norm/beta": (d,),
    }
    for i in range(config.num_layers):
        block = f"encoder_block_{i}"
        for part in ("query", "key", "value"):
            shapes[f"{block}/attention/{part}/kernel"] = (d, heads)
            shapes[f"{block}/attention/{part}/bias"] = (heads,)
        shapes[f"{block}/attention/output/kernel"] = (heads, d)
        shapes[f"{block}/attention/output/bias"] = (d,)
        shapes[f"{block}/feed_forward/intermediate/kernel"] = (d, inner)
        shapes[f"{block}/feed_forward/intermediate/bias"] = (inner,)
        shapes[f"{block}/feed_forward/output/kernel"] = (inner, d)
        shapes[f"{block}/feed_forward/output/bias"] = (d,)
        for norm in ("attention_norm", "feed_forward_norm"):
            shapes[f"{block}/{norm}/gamma"] = (d,)
            shapes[f"{block}/{norm}/beta"] = (d,)
    return shapes
