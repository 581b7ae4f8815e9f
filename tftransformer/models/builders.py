"""From a config to its model, by the architecture of its family."""

from collections.abc import Callable

import keras

from tftransformer.config import TransformerConfig
from tftransformer.models.decoder import build_decoder
from tftransformer.models.encoder import build_encoder
from tftransformer.models.encoder_decoder import build_encoder_decoder
from tftransformer.models.families import FAMILIES

# The words that `Family.architecture` may be.
ARCHITECTURES: dict[str, Callable[..., keras.Model]] = {
    "encoder": build_encoder,
    "decoder": build_decoder,
    "encoder_decoder": build_encoder_decoder,
}


def build_model(config: TransformerConfig, dtype: str | None = None) -> keras.Model:
    """The model of the config's family, from that family's builder.

    Args:
        config: Sizes and choices.
        dtype: A Keras dtype policy, such as "mixed_bfloat16". None: the global one.

    Example:
        >>> build_model(TransformerConfig("bert", vocabulary_size=100, num_layers=1, hidden_dim=16, num_heads=2,
        ...                               intermediate_dim=32)).name
        'encoder'
    """
    return ARCHITECTURES[FAMILIES[config.family].architecture](config, dtype=dtype)
