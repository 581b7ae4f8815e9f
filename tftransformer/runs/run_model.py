"""The model that a finished run left."""

from pathlib import Path

from tftransformer.errors import TransformerError
from tftransformer.runs.run_folder import RunFolder
from tftransformer.tasks.loading import load
from tftransformer.tasks.text_classifier import TextClassifier


def load_classifier(run: str | Path) -> TextClassifier:
    """The classifier of a finished run of `examples/classify.py` or `examples/classify_documents.py`.

    Args:
        run: The run's folder.

    Raises:
        TransformerError: None is given, it holds no finished run, or one of several tasks.

    Example:
        >>> load_classifier("runs/sample-1").predict(["He has a rash."])  # doctest: +SKIP
    """
    classifier = load(RunFolder.open(run, argument="model").model_path)
    if not isinstance(classifier, TextClassifier):
        raise TransformerError(
            f"model must be a run of one classifier; {run} holds a {type(classifier).__name__}"
        )
    return classifier
