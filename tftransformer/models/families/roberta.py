"""RoBERTa (Liu et al. 2019, arXiv 1907.11692): BERT with byte-level BPE, and positions that count from row 2."""

from typing import Any

from tftransformer.models.families import bert
from tftransformer.models.families.family import Family, HuggingFace, KerasHub, TokenizerFacts
from tftransformer.models.families.names import huggingface, keras_hub
from tftransformer.models.families.names.tables import Ignored, Rule, Table

# Its positions count from the row after the padding token's, which has the id 1 (fairseq's convention).
DEFAULTS: dict[str, Any] = {**bert.DEFAULTS, "num_segments": 1, "layer_norm_epsilon": 1e-5, "position_offset": 2}
SPECIAL = ("<unk>", "<pad>", "<s>", "</s>", "<mask>")

HUGGING_FACE = Table(
    name="Hugging Face's RoBERTa",
    prefixes=("", "roberta."),
    rules=(
        *huggingface.embeddings("embeddings"),
        *huggingface.encoder_blocks("encoder.layer.{i}"),
        *huggingface.dense("pooler/dense", "classifier.dense", outer=True),
        *huggingface.dense("head/logits", "classifier.out_proj", may_differ=True, outer=True),
        *huggingface.dense("lm_head/dense", "lm_head.dense", outer=True),
        *huggingface.norm("lm_head/norm", "lm_head.layer_norm", outer=True),
        Rule("lm_head/bias", ("lm_head.bias",), outer=True),
    ),
    ignored=(
        *huggingface.NOT_LOADED,
        Ignored(r"lm_head\.decoder\..*", huggingface.TIED_TOKENS),
        Ignored(r"lm_head\..*", "the head of pretraining (masked words)"),
        Ignored(r"classifier\..*", "the model has no such head"),
        Ignored(r"pooler\..*", "random numbers: RoBERTa's pretraining has no task for a pooler"),
    ),
)
KERAS_HUB = Table(
    name="keras-hub's RoBERTa",
    rules=(*keras_hub.embeddings("embeddings/"), *keras_hub.encoder_blocks(), keras_hub.POOLER, keras_hub.HEAD),
    ignored=(keras_hub.NO_POOLER, keras_hub.NO_HEAD),
)

FAMILY = Family(
    name="roberta",
    title="RoBERTa",
    defaults=DEFAULTS,
    tokenizer=TokenizerFacts("byte_bpe", SPECIAL, pair_separators=2),
    pooler_dropout=True,
    huggingface=HuggingFace(
        model_type="roberta",
        classes="Roberta",
        prefix="roberta.",
        table=HUGGING_FACE,
        settings=huggingface.SETTINGS,
        defaults={**huggingface.SIZES, "pad_token_id": 1, "vocab_size": 50265},
        positions_after_padding=True,
    ),
    keras_hub=KerasHub("Roberta", KERAS_HUB, settings=keras_hub.SIZES, fixed=keras_hub.ROBERTA_FIXED),
)
