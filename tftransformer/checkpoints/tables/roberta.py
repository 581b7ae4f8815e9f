"""RoBERTa (Liu et al. 2019, arXiv 1907.11692) and XLM-RoBERTa (Conneau et al. 2019, 1911.02116)."""

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
    name="Hugging Face's RoBERTa",
    prefixes=("", "roberta."),
    rules=(
        *embeddings("embeddings"),
        *encoder_blocks("encoder.layer.{i}"),
        *dense("pooler/dense", "classifier.dense", outer=True),
        *dense("head/logits", "classifier.out_proj", may_differ=True, outer=True),
        *dense("lm_head/dense", "lm_head.dense", outer=True),
        *norm("lm_head/norm", "lm_head.layer_norm", outer=True),
        Rule("lm_head/bias", ("lm_head.bias",), outer=True),
    ),
    ignored=(
        *NOT_WEIGHTS,
        Ignored(r"lm_head\.decoder\..*", TIED_TOKENS),
        Ignored(r"lm_head\..*", "the head of pretraining (masked words)"),
        Ignored(r"classifier\..*", "the model has no such head"),
        Ignored(r"qa_outputs\..*", "the head of question answering, another task"),
        Ignored(r"pooler\..*", "random numbers: RoBERTa's pretraining has no task for a pooler"),
    ),
)

_SIZES = {**SIZES, "pad_token_id": 1}
LAYOUT = Layout(
    family="roberta",
    model_type="roberta",
    classes="Roberta",
    prefix="roberta.",
    table=HUGGING_FACE,
    settings=SETTINGS,
    defaults={**_SIZES, "vocab_size": 50265},
    positions_after_padding=True,
)
XLM_LAYOUT = Layout(
    family="xlm_roberta",
    model_type="xlm-roberta",
    classes="XLMRoberta",
    prefix="roberta.",
    table=HUGGING_FACE,
    settings=SETTINGS,
    defaults=_SIZES,
    positions_after_padding=True,
)
