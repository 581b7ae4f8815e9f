"""Builders: a `TransformerConfig` becomes a plain functional `keras.Model` with named layers.

Names load on first use: `config.py` reads the families' defaults (`models.families`, plain data) without Keras.
"""

from tftransformer.lazy import attach

_NAMES = {
    "": ("families", "walk"),
    "families": ("FAMILIES", "Family"),
    "blocks": ("build_decoder_block", "build_encoder_block"),
    "encoder": ("build_encoder", "encoder_inputs"),
    "decoder": ("build_decoder",),
    "encoder_decoder": ("build_encoder_decoder",),
    "builders": ("build_model",),
    "walk": ("EncoderStack", "build_stack", "hidden_states", "stack_of"),
    "decoding": ("DecodingState", "decode_step", "start_decoding"),
    "shapes": ("count_parameters", "encoder_shapes"),
}
__getattr__, __dir__, __all__ = attach(__name__, {name: file for file, names in _NAMES.items() for name in names})
