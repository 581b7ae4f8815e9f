"""Distribution: strategies that spread a step over devices.

Names load on first use: importing this package loads neither Keras nor TensorFlow.
"""

from tftransformer.lazy import attach

__getattr__, __dir__, __all__ = attach(__name__, {"STRATEGIES": "strategies", "build_strategy": "strategies"})
