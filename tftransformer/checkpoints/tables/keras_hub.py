"""The encoder families as keras-hub builds and stores them (its old name: keras-nlp)."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from tftransformer.checkpoints.rules import MERGE_FIRST, MERGE_LAST, Ignored, Rule, Table
from tftransformer.checkpoints.tables.parts import ENCODER_BLOCK


@dataclasses.dataclass(frozen=True)
class HubLayout:
    """One family in keras-hub's presets.

    Args:
        family: Ours.
        classes: What their classes' names start with ("Bert" of "BertBackbone").
        table: The names of the variables, in a backbone and in a classifier on it.
        settings: Arguments of their backbone and the fields of `TransformerConfig` that they are.
        fixed: Fields that their backbone has no argument for.
        required: Other arguments of their backbone, with the only value that can be loaded.
        pooler: Their backbone holds a dense layer on the first token.
        projection_only_where_needed: There is no projection where the embeddings are as wide as the blocks.
    """

    family: str
    classes: str
    table: Table
    settings: Mapping[str, str]
    fixed: Mapping[str, Any]
    required: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    pooler: bool = False
    projection_only_where_needed: bool = False

    @property
    def backbone(self) -> str:
        """The name of their backbone's class."""
        return f"{self.classes}Backbone"

    @property
    def classifiers(self) -> tuple[str, str]:
        """The name of their classifier's class, and what it was called before."""
        return f"{self.classes}TextClassifier", f"{self.classes}Classifier"


def _encoder_blocks(block: str) -> tuple[Rule, ...]:
    attention, feed = f"{block}/self_attention_layer", f"{block}/feedforward"
    return (
        *(
            Rule(f"{ENCODER_BLOCK}/attention/{part}/{kind}", (f"{attention}/{part}/{kind}",), MERGE_LAST)
            for part in ("query", "key", "value")
            for kind in ("kernel", "bias")
        ),
        Rule(
            f"{ENCODER_BLOCK}/attention/output/kernel",
            (f"{attention}/attention_output/kernel",),
            MERGE_FIRST,
        ),
        Rule(f"{ENCODER_BLOCK}/attention/output/bias", (f"{attention}/attention_output/bias",)),
        Rule(f"{ENCODER_BLOCK}/attention_norm/{{path}}", (f"{attention}_norm/{{path}}",)),
        Rule(f"{ENCODER_BLOCK}/feed_forward/intermediate/{{path}}", (f"{feed}_intermediate_dense/{{path}}",)),
        Rule(f"{ENCODER_BLOCK}/feed_forward/output/{{path}}", (f"{feed}_output_dense/{{path}}",)),
        Rule(f"{ENCODER_BLOCK}/feed_forward_norm/{{path}}", (f"{feed}_layer_norm/{{path}}",)),
    )


def _embeddings(outer: str = "") -> tuple[Rule, ...]:
    return (
        Rule("embeddings/token/embeddings", (f"{outer}token_embedding/embeddings",)),
        Rule("embeddings/position/embeddings", (f"{outer}position_embedding/embeddings",)),
        Rule("embeddings/segment/embeddings", ("segment_embedding/embeddings",)),
        Rule("embeddings/norm/{path}", ("embeddings_layer_norm/{path}",)),
    )


_POOLER = Rule("pooler/dense/{path}", ("pooled_dense/{path}",))
_HEAD = Rule("head/logits/{path}", ("logits/{path}",), may_differ=True)
_NO_HEAD = Ignored(r"logits/.*", "the model has no classification head")
_NO_POOLER = Ignored(r"pooled_dense/.*", "the model has no pooler")
_BLOCKS = _encoder_blocks("transformer_layer_{i}")

BERT = Table(
    name="keras-hub's BERT",
    rules=(*_embeddings(), *_BLOCKS, _POOLER, _HEAD),
    ignored=(_NO_POOLER, _NO_HEAD),
)
DISTILBERT = Table(
    name="keras-hub's DistilBERT",
    rules=(*_embeddings("token_and_position_embedding/"), *_BLOCKS, _POOLER, _HEAD),
    ignored=(_NO_POOLER, _NO_HEAD),
)
ROBERTA = Table(
    name="keras-hub's RoBERTa",
    rules=(*_embeddings("embeddings/"), *_BLOCKS, _POOLER, _HEAD),
    ignored=(_NO_POOLER, _NO_HEAD),
)
ELECTRA = Table(
    name="keras-hub's ELECTRA",
    rules=(
        *_embeddings(),
        Rule("embeddings/projection/{path}", ("embeddings_projection/{path}",)),
        *_BLOCKS,
    ),
    ignored=(
        Ignored(
            r"pooled_dense/.*",
            "ELECTRA's pretraining has no task for a pooler, and its classifiers have another",
        ),
    ),
)
ALBERT = Table(
    name="keras-hub's ALBERT",
    rules=(
        *_embeddings(),
        Rule("embeddings/projection/{path}", ("embedding_projection/{path}",)),
        *_encoder_blocks("group_{i}_inner_layer_0"),
        _POOLER,
        _HEAD,
    ),
    ignored=(_NO_POOLER, _NO_HEAD),
)

_SIZES: dict[str, str] = {
    name: name
    for name in (
        "vocabulary_size",
        "num_layers",
        "hidden_dim",
        "num_heads",
        "intermediate_dim",
        "max_sequence_length",
        "dropout",
    )
}
_SEGMENTS = {**_SIZES, "num_segments": "num_segments"}
# GELU is by its tanh approximation in keras-hub's BERT, ELECTRA and ALBERT, and exact in the others, whatever
# the checkpoint was trained with.
_BERT_FIXED = {"activation": "gelu_tanh", "layer_norm_epsilon": 1e-12}
# Its RoBERTa counts positions from row 0: the conversion left out the two rows before the first position's, and
# the only row of the segment table, which is zeros in RoBERTa's own checkpoints.
_ROBERTA_FIXED = {"activation": "gelu", "layer_norm_epsilon": 1e-5, "num_segments": 0, "position_offset": 0}

LAYOUTS: dict[str, HubLayout] = {
    layout.backbone: layout
    for layout in (
        HubLayout("bert", "Bert", BERT, _SEGMENTS, _BERT_FIXED, pooler=True),
        HubLayout(
            "distilbert",
            "DistilBert",
            DISTILBERT,
            _SIZES,
            {"activation": "gelu", "layer_norm_epsilon": 1e-12, "num_segments": 0},
        ),
        HubLayout("roberta", "Roberta", ROBERTA, _SIZES, _ROBERTA_FIXED),
        HubLayout("xlm_roberta", "XLMRoberta", ROBERTA, _SIZES, _ROBERTA_FIXED),
        HubLayout(
            "electra",
            "Electra",
            ELECTRA,
            {
                **{theirs: ours for theirs, ours in _SEGMENTS.items() if theirs != "vocabulary_size"},
                "vocab_size": "vocabulary_size",
                "embedding_dim": "embedding_dim",
            },
            _BERT_FIXED,
            pooler=True,
            projection_only_where_needed=True,
        ),
        HubLayout(
            "albert",
            "Albert",
            ALBERT,
            {**_SEGMENTS, "embedding_dim": "embedding_dim", "num_groups": "num_distinct_blocks"},
            _BERT_FIXED,
            # With several layers in a group they take turns; here each block is applied as often as it is in a row.
            required={"num_inner_repetitions": 1},
            pooler=True,
        ),
    )
}
