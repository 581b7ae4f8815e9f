"""ALBERT as Google released it: github.com/google-research/albert (TensorFlow 1)."""

from tftransformer.checkpoints.rules import Ignored, Table
from tftransformer.checkpoints.tables.parts import ENCODER_BLOCK
from tftransformer.checkpoints.tables.tensorflow_parts import (
    CLASSIFIER,
    HEADS_1,
    MASKED_LM,
    TRAINING_1,
    dense,
    embeddings_1,
    norm,
)

# "gelu" is the tanh approximation: `gelu` in google-research/albert's modeling.py.
ACTIVATIONS: dict[str, str] = {"gelu": "gelu_new", "relu": "relu"}

_GROUP = "bert/encoder/transformer/group_{i}/inner_group_0"

TENSORFLOW_1 = Table(
    name="Google's ALBERT",
    rules=(
        *embeddings_1("bert/embeddings"),
        *dense("embeddings/projection", "bert/encoder/embedding_hidden_mapping_in"),
        *dense(f"{ENCODER_BLOCK}/attention/query", f"{_GROUP}/attention_1/self/query"),
        *dense(f"{ENCODER_BLOCK}/attention/key", f"{_GROUP}/attention_1/self/key"),
        *dense(f"{ENCODER_BLOCK}/attention/value", f"{_GROUP}/attention_1/self/value"),
        *dense(f"{ENCODER_BLOCK}/attention/output", f"{_GROUP}/attention_1/output/dense"),
        *norm(f"{ENCODER_BLOCK}/attention_norm", f"{_GROUP}/LayerNorm"),
        *dense(f"{ENCODER_BLOCK}/feed_forward/intermediate", f"{_GROUP}/ffn_1/intermediate/dense"),
        *dense(f"{ENCODER_BLOCK}/feed_forward/output", f"{_GROUP}/ffn_1/intermediate/output/dense"),
        *norm(f"{ENCODER_BLOCK}/feed_forward_norm", f"{_GROUP}/LayerNorm_1"),
        *dense("pooler/dense", "bert/pooler/dense"),
        *CLASSIFIER,
        *MASKED_LM,
    ),
    ignored=(*TRAINING_1, *HEADS_1, Ignored(r"bert/pooler/.*", "the model has no pooler")),
)
