"""Sources of weights: one small, lazy interface over files, loaded models and plain dicts.

`open_weights` finds the weights in a folder; the classes read one form each. Nothing here unpickles
freely, and nothing leaves the folder that it was given.
"""

from tftransformer.checkpoints.sources.base import FLOATING, ArraySource, KerasHubSource, Source, cast
from tftransformer.checkpoints.sources.folder import open_weights
from tftransformer.checkpoints.sources.shards import SafetensorsSource, ShardedSource
from tftransformer.checkpoints.sources.tensorflow_file import TensorFlowSource
from tftransformer.checkpoints.sources.torch_file import TorchSource

__all__ = [
    "FLOATING",
    "ArraySource",
    "KerasHubSource",
    "SafetensorsSource",
    "ShardedSource",
    "Source",
    "TensorFlowSource",
    "TorchSource",
    "cast",
    "open_weights",
]
