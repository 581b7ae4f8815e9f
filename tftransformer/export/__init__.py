"""Trained models in the forms that servers read; `FORMATS` has them."""

from tftransformer.lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__, {"export": "serving", "FORMATS": "serving", "Serving": "serving", "Signature": "serving"}
)
