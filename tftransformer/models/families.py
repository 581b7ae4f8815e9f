"""Families of models by name, and the builder of each."""

from collections.abc import Callable

import keras

from tftransformer.config import TransformerConfig
from tftransformer.models.decoder import build_decoder
from tftransformer.models.encoder import build_encoder
from tftransformer.models.encoder_decoder import build_encoder_decoder

BUILDERS: dict[str, Callable[..., keras.Model]] = {
    "bert": build_encoder,
    "gpt2": build_decoder,
    "transformer": build_encoder_decoder,
}


def build_model(config: TransformerConfig, dtype: str | None = None) -> keras.Model:
    """The model of the config's family, from that family's builder.

    Example:
        >>> build_model(TransformerConfig("bert", vocabulary_size=100, num_layers=1, hidden_dim=16, num_heads=2,
        ...                               intermediate_dim=32)).name
        'encoder'
    """
    return BUILDERS[config.family](config, dtype=dtype)
