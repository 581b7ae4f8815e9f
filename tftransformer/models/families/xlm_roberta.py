"""XLM-RoBERTa (Conneau et al. 2019, arXiv 1911.02116): RoBERTa with SentencePiece, for a hundred languages."""

from tftransformer.models.families import roberta
from tftransformer.models.families.family import Family, HuggingFace, KerasHub, TokenizerFacts
from tftransformer.models.families.names import huggingface, keras_hub

FAMILY = Family(
    name="xlm_roberta",
    title="XLM-RoBERTa",
    defaults=roberta.DEFAULTS,
    tokenizer=TokenizerFacts("sentencepiece", roberta.SPECIAL, pair_separators=2, fairseq_ids=True),
    pooler_dropout=True,
    huggingface=HuggingFace(
        model_type="xlm-roberta",
        classes="XLMRoberta",
        prefix="roberta.",
        table=roberta.HUGGING_FACE,
        settings=huggingface.SETTINGS,
        defaults={**huggingface.SIZES, "pad_token_id": 1},
        positions_after_padding=True,
    ),
    keras_hub=KerasHub("XLMRoberta", roberta.KERAS_HUB, settings=keras_hub.SIZES, fixed=keras_hub.ROBERTA_FIXED),
)
