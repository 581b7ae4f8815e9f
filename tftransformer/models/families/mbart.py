"""mBART (Liu et al. 2020, arXiv 2001.08210): BART with norms before the sublayers, for many languages."""

from tftransformer.models.families import bart
from tftransformer.models.families.family import Family, HuggingFace, TokenizerFacts

FAMILY = Family(
    name="mbart",
    title="mBART",
    architecture="encoder_decoder",
    defaults={**bart.DEFAULTS, "normalize_first": True},
    tokenizer=TokenizerFacts("sentencepiece", bart.SPECIAL, pair_separators=2, fairseq_ids=True),
    huggingface=HuggingFace(
        model_type="mbart",
        classes="MBart",
        prefix="model.",
        language_model="ForConditionalGeneration",
        table=bart.TABLE,
        settings=bart.SETTINGS,
        defaults={**bart.SIZES, "decoder_start_token_id": 2, "forced_bos_token_id": None},
        required={"is_encoder_decoder": True},
        activation="activation_function",
        begin=("decoder_start_token_id", "forced_bos_token_id"),
    ),
)
