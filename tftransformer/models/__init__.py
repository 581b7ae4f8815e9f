"""Builders: a `TransformerConfig` becomes a plain functional `keras.Model` with named layers."""

from tftransformer.models.decoder import build_decoder
from tftransformer.models.decoding import DecodingState, decode_step, start_decoding
from tftransformer.models.encoder import build_encoder, build_encoder_block, encoder_inputs
from tftransformer.models.encoder_decoder import build_encoder_decoder
from tftransformer.models.families import BUILDERS, FAMILIES, Family, build_model
from tftransformer.models.parts import build_decoder_block
from tftransformer.models.shapes import count_parameters, encoder_shapes

__all__ = [
    "BUILDERS",
    "FAMILIES",
    "Family",
    "DecodingState",
    "build_decoder",
    "build_decoder_block",
    "build_encoder",
    "build_encoder_block",
    "build_encoder_decoder",
    "build_model",
    "count_parameters",
    "decode_step",
    "encoder_inputs",
    "encoder_shapes",
    "start_decoding",
]
