"""Pretrained weights: finding, checking, loading and saving them."""

from tftransformer.lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "AdaptedPreset": "adaptation",
        "ArraySource": "sources",
        "KerasHubSource": "sources",
        "LoadSummary": "assign",
        "Preset": "preset",
        "SafetensorsSource": "sources",
        "SavedModelFeatures": "saved_model_layer",
        "Source": "sources",
        "Table": "rules",
        "adapt": "adaptation",
        "embedded_presets": "presets",
        "load_preset": "presets",
        "open_weights": "sources",
        "preset_from_file": "weights_files",
        "save_huggingface": "huggingface.folder",
        "save_preset": "native_format",
        "write_preset": "native_format",
    },
)
