"""Labelled texts: reading them, splitting them, checking them and feeding them to a model.

Names load on first use, so reading and checking files needs neither TensorFlow nor Keras.
"""

from importlib import import_module

_HOMES = {
    "Split": "split",
    "Splits": "split",
    "load": "loading",
    "cut": "cutting",
    "subset": "cutting",
    "check": "checks",
    "drop_leaked": "checks",
    "DataReport": "data_report",
    "fold": "folding",
    "Records": "records",
    "as_records": "records",
    "encode_targets": "records",
    "Examples": "examples",
    "build_examples": "examples",
    "packer": "examples",
    "length_buckets": "buckets",
    "Epoch": "pipeline",
    "token_batches": "pipeline",
    "ordered_batches": "pipeline",
    "stream_batches": "pipeline",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str):
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__():
    return sorted({*globals(), *_HOMES})
