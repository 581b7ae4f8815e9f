"""GPT-2 (Radford et al. 2019): its decoder, without checkpoints yet."""

from tftransformer.models.families.family import Family

FAMILY = Family(
    name="gpt2",
    title="GPT-2's decoder",
    architecture="decoder",
    defaults={
        "position": "learned",
        "position_offset": 0,
        "num_segments": 0,
        "activation": "gelu_tanh",
        "normalize_first": True,
        "embedding_norm": False,
        "scale_embeddings": False,
        "layer_norm_epsilon": 1e-5,
    },
)
