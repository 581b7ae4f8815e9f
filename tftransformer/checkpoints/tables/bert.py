"""BERT (Devlin et al. 2018, arXiv 1810.04805) as Hugging Face stores it."""

from tftransformer.checkpoints.huggingface.layout import Layout
from tftransformer.checkpoints.rules import Ignored, Rule, Table
from tftransformer.checkpoints.tables.parts import (
    NOT_WEIGHTS,
    SETTINGS,
    SIZES,
    TIED_TOKENS,
    dense,
    embeddings,
    encoder_blocks,
    norm,
)

HUGGING_FACE = Table(
    name="Hugging Face's BERT",
    prefixes=("", "bert."),
    rules=(
        *embeddings("embeddings"),
        *encoder_blocks("encoder.layer.{i}"),
        *dense("pooler/dense", "pooler.dense"),
        *dense("head/logits", "classifier", may_differ=True, outer=True),
        *dense("lm_head/dense", "cls.predictions.transform.dense", outer=True),
        *norm("lm_head/norm", "cls.predictions.transform.LayerNorm", outer=True),
        Rule("lm_head/bias", ("cls.predictions.bias",), outer=True),
    ),
    ignored=(
        *NOT_WEIGHTS,
        Ignored(r"cls\.predictions\.decoder\..*", TIED_TOKENS),
        Ignored(r"cls\..*", "the heads of pretraining (masked words, next sentence)"),
        Ignored(r"classifier\..*", "the model has no classification head"),
        Ignored(r"qa_outputs\..*", "the head of question answering, another task"),
        Ignored(r"pooler\..*", "the model has no pooler"),
    ),
)

LAYOUT = Layout(
    family="bert",
    model_type="bert",
    classes="Bert",
    prefix="bert.",
    table=HUGGING_FACE,
    settings=SETTINGS,
    defaults=SIZES,
)
