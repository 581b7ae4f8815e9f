"""The model that a finished run left."""

from pathlib import Path

from tftransformer.checkpoints.presets import load_preset
from tftransformer.experiments.runs import RunFolder
from tftransformer.tasks.document_classifier import DocumentClassifier
from tftransformer.tasks.text_classifier import TextClassifier


def load_classifier(run: str | Path) -> TextClassifier:
    """The classifier of a finished run of `examples/classify.py` or `examples/classify_documents.py`.

    Args:
        run: The run's folder.

    Raises:
        TransformerError: None is given, or it holds no finished run.

    Example:
        >>> load_classifier("runs/sample-1").predict(["He has a rash."])  # doctest: +SKIP
    """
    found = load_preset(RunFolder.open(run, argument="model").model_path)
    kind = DocumentClassifier if "max_chunks" in found.task else TextClassifier
    return kind.from_preset(found)
