"""Builders: a `TransformerConfig` becomes a plain functional `keras.Model` with named layers.

Names load on first use: `config.py` reads the families' defaults (`models.families`, plain data) without Keras.
"""

from tftransformer.lazy import attach

_NAMES = {
    "": ("families", "generation", "walk"),
    "families": ("FAMILIES", "Family"),
    "blocks": ("build_decoder_block", "build_encoder_block"),
    "encoder": ("build_encoder", "encoder_inputs"),
    "decoder": ("build_decoder",),
    "encoder_decoder": ("build_encoder_decoder",),
    "builders": ("build_model",),
    "walk": ("EncoderStack", "build_stack", "hidden_states", "stack_of"),
    "decoder_walk": ("DecoderStack", "DecodingState", "build_decoder_stack", "decoder_stack_of", "walk_decoder"),
    "generation": (
        "BeamSearch",
        "Generated",
        "Greedy",
        "Sampling",
        "decode_step",
        "generate",
        "start_decoding",
    ),
    "shapes": ("count_parameters", "decoder_shapes", "encoder_shapes", "shapes_of"),
}
__getattr__, __dir__, __all__ = attach(__name__, {name: file for file, names in _NAMES.items() for name in names})
