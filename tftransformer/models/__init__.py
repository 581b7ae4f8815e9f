"""Builders: a `TransformerConfig` becomes a plain functional `keras.Model` with named layers.

Names load on first use: `config.py` reads the families' defaults (`models.families`, plain data) without Keras.
"""

from tftransformer.lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "families": "",
        "walk": "",
        "FAMILIES": "families",
        "Family": "families",
        "DecodingState": "decoding",
        "EncoderStack": "walk",
        "build_decoder": "decoder",
        "build_decoder_block": "blocks",
        "build_encoder": "encoder",
        "build_encoder_block": "blocks",
        "build_encoder_decoder": "encoder_decoder",
        "build_model": "builders",
        "build_stack": "walk",
        "count_parameters": "shapes",
        "decode_step": "decoding",
        "encoder_inputs": "encoder",
        "encoder_shapes": "shapes",
        "hidden_states": "walk",
        "stack_of": "walk",
        "start_decoding": "decoding",
    },
)
