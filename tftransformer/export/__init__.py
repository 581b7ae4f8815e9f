"""Trained models in the forms that servers read."""

from tftransformer.export.saved_model import export_classifier

__all__ = ["export_classifier"]
