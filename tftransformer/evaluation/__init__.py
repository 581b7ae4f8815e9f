"""How good a classifier is: metrics with intervals, a word-counting baseline, reports and pictures."""

import importlib

_WHERE = {
    "classification_metrics": "metrics",
    "multilabel_metrics": "metrics",
    "tune_threshold": "thresholds",
    "MacroF1": "keras_metrics",
    "MultiLabelF1": "keras_metrics",
    "tfidf_baseline": "baselines",
    "Report": "reports",
    "write_predictions": "reports",
    "plot_confusion_matrix": "plots",
    "plot_roc": "plots",
    "plot_curves": "plots",
}
__all__ = sorted(_WHERE)


# Lazy, because scikit-learn, matplotlib and Keras each cost a second or more to import.
def __getattr__(name: str):
    if name in _WHERE:
        return getattr(importlib.import_module(f"{__name__}.{_WHERE[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(__all__))
