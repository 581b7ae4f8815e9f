"""T5 v1.1 (Shazeer 2020, arXiv 2002.05202): T5 with gates and an output projection of its own; also FLAN-T5's."""

from tftransformer.models.families import t5
from tftransformer.models.families.family import Family, HuggingFace, TokenizerFacts
from tftransformer.models.families.names.tables import Rule

GATED = {"gate": "DenseReluDense.wi_0", "intermediate": "DenseReluDense.wi_1", "output": "DenseReluDense.wo"}
# transformers 5 leaves the projection out of the file where it is the token table.
HEAD = (Rule("lm_head/kernel", ("lm_head.weight", "shared.weight"), "transpose", outer=True),)

FAMILY = Family(
    name="t5_v1_1",
    title="T5 v1.1, FLAN-T5",
    architecture="encoder_decoder",
    defaults={**t5.DEFAULTS, "activation": "gelu_tanh", "gated": True, "scale_logits": False},
    tokenizer=TokenizerFacts("sentencepiece", t5.SPECIAL, split=None, add_start_token=False),
    huggingface=HuggingFace(
        model_type="t5",
        classes="T5",
        prefix="",
        language_model="ForConditionalGeneration",
        table=t5.table("Hugging Face's T5 v1.1", GATED, HEAD),
        settings=t5.SETTINGS,
        defaults={**t5.SIZES, "feed_forward_proj": "relu"},
        required={"is_encoder_decoder": True, "feed_forward_proj": "gated-gelu"},
        fixed={"tie_embeddings": False, "scale_logits": False},
        written={"tie_word_embeddings": False},
        activation="feed_forward_proj",
        begin=("decoder_start_token_id",),
    ),
)
