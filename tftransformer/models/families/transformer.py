"""The encoder-decoder of Vaswani et al. 2017 (arXiv 1706.03762); its layer norm has TensorFlow's usual epsilon."""

from tftransformer.models.families.family import Family

FAMILY = Family(
    name="transformer",
    title="the encoder-decoder of Vaswani et al.",
    architecture="encoder_decoder",
    defaults={
        "position": "sinusoidal",
        "position_offset": 0,
        "num_segments": 0,
        "activation": "relu",
        "normalize_first": False,
        "embedding_norm": False,
        "scale_embeddings": True,
        "layer_norm_epsilon": 1e-6,
    },
)
