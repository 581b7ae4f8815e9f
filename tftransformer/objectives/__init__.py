"""Objectives: what the output of a task means, one file a kind of output."""

from tftransformer.lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "Objective": "objective",
        "Prediction": "classification",
        "Classification": "classification",
        "ClassificationTask": "several",
        "SeveralClassifications": "several",
        "NextToken": "next_token",
        "Regression": "regression",
        "Tagging": "tagging",
        "TextSpan": "tagging",
    },
)
