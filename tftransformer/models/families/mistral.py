"""Mistral (Jiang et al. 2023, arXiv 2310.06825): Llama's decoder by another name, where attention has no window."""

import dataclasses

from tftransformer.models.families import llama
from tftransformer.models.families.family import TokenizerFacts

FAMILY = dataclasses.replace(
    llama.FAMILY,
    name="mistral",
    title="Mistral",
    tokenizer=TokenizerFacts("character_bpe", ("<unk>", "</s>", "<s>", "</s>", "</s>"), split=None),
    huggingface=dataclasses.replace(
        llama.HUGGING_FACE,
        model_type="mistral",
        classes="Mistral",
        table=dataclasses.replace(llama.TABLE, name="Hugging Face's Mistral"),
        defaults={
            **llama.SIZES, "intermediate_size": 14336, "num_key_value_heads": 8, "max_position_embeddings": 131072,
            "sliding_window": 4096,
        },
        required={"sliding_window": None},
        written={"sliding_window": None},
    ),
)  # fmt: skip
