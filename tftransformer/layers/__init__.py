"""Layers that stand alone in anybody's functional model. Keras only: they run on TensorFlow, JAX and torch."""

from tftransformer.layers.adapters import Adapter, AdapterBank
from tftransformer.layers.attention import MultiHeadAttention
from tftransformer.layers.attention_prefix import AttentionPrefix
from tftransformer.layers.configured import ConfiguredLayer
from tftransformer.layers.decoder_block import DecoderBlock
from tftransformer.layers.dropout import Dropout
from tftransformer.layers.embeddings import TokenEmbedding, TransformerEmbedding
from tftransformer.layers.encoder_block import EncoderBlock, ResidualBlock
from tftransformer.layers.feed_forward import FeedForward
from tftransformer.layers.heads import ClassificationHead, LogitsBias, TaskHeads
from tftransformer.layers.hierarchical import AttentionPooling
from tftransformer.layers.low_rank import LowRankDelta
from tftransformer.layers.pooling import CLSPooling, MaxPooling, MeanPooling
from tftransformer.layers.position_biases import ALiBi, PositionBias, RelativePositionBuckets
from tftransformer.layers.positions import LearnedPosition, SinusoidalPosition
from tftransformer.layers.projection import Projection, ProjectionDelta
from tftransformer.layers.relative_positions import AttentionPosition, RelativePosition, RotaryPosition
from tftransformer.layers.slots import SlottedLayer
from tftransformer.layers.taps import Taps, tap, tapped

__all__ = [
    "ALiBi",
    "Adapter",
    "AdapterBank",
    "AttentionPooling",
    "AttentionPosition",
    "AttentionPrefix",
    "CLSPooling",
    "ClassificationHead",
    "ConfiguredLayer",
    "DecoderBlock",
    "Dropout",
    "EncoderBlock",
    "FeedForward",
    "LearnedPosition",
    "LogitsBias",
    "LowRankDelta",
    "MaxPooling",
    "MeanPooling",
    "MultiHeadAttention",
    "PositionBias",
    "Projection",
    "ProjectionDelta",
    "RelativePosition",
    "RelativePositionBuckets",
    "ResidualBlock",
    "RotaryPosition",
    "SinusoidalPosition",
    "SlottedLayer",
    "Taps",
    "TaskHeads",
    "TokenEmbedding",
    "TransformerEmbedding",
    "tap",
    "tapped",
]
