"""ELECTRA's discriminator (Clark et al. 2020, arXiv 2003.10555)."""

from tftransformer.checkpoints.huggingface.layout import Layout
from tftransformer.checkpoints.rules import Ignored, Table
from tftransformer.checkpoints.tables.parts import (
    NOT_WEIGHTS,
    SETTINGS,
    SIZES,
    dense,
    embeddings,
    encoder_blocks,
)

HUGGING_FACE = Table(
    name="Hugging Face's ELECTRA",
    prefixes=("", "electra."),
    rules=(
        *embeddings("embeddings"),
        *dense("embeddings/projection", "embeddings_project"),
        *encoder_blocks("encoder.layer.{i}"),
        *dense("pooler/dense", "classifier.dense", outer=True),
        *dense("head/logits", "classifier.out_proj", may_differ=True, outer=True),
    ),
    ignored=(
        *NOT_WEIGHTS,
        Ignored(r"discriminator_predictions\..*", "the head of pretraining (replaced words)"),
        Ignored(r"generator_.*", "the head of the generator (masked words)"),
        Ignored(r"classifier\..*", "the model has no such head"),
        Ignored(r"qa_outputs\..*", "the head of question answering, another task"),
    ),
)

LAYOUT = Layout(
    family="electra",
    model_type="electra",
    classes="Electra",
    prefix="electra.",
    table=HUGGING_FACE,
    settings={**SETTINGS, "embedding_size": "embedding_dim"},
    defaults={
        **SIZES,
        "hidden_size": 256,
        "num_attention_heads": 4,
        "intermediate_size": 1024,
        "embedding_size": 128,
    },
    projection_only_where_needed=True,
)
