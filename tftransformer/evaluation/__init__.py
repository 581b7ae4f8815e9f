"""How good a classifier is: metrics with intervals, a word-counting baseline, reports and pictures."""

from tftransformer.lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "classification_metrics": "metrics",
        "multilabel_metrics": "metrics",
        "tune_threshold": "metrics",
        "MacroF1": "keras_metrics",
        "MultiLabelAccuracy": "keras_metrics",
        "MultiLabelF1": "keras_metrics",
        "tfidf_baseline": "baselines",
        "Report": "reports",
        "write_predictions": "reports",
        "plot_confusion_matrix": "plots",
        "plot_roc": "plots",
        "plot_curves": "plots",
        "plot_confidence": "plots",
        "reliability": "calibration",
        "fit_temperature": "calibration",
        "with_temperature": "calibration",
        "coverage_curve": "calibration",
        "confidence_for": "calibration",
        "conformal_threshold": "calibration",
        "label_sets": "calibration",
        "Confidence": "calibration",
        "find_label_errors": "label_errors",
        "held_out_probabilities": "label_errors",
    },
)
