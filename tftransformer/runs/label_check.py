"""Training rows whose labels are probably wrong: what `--check_labels` prints and writes."""

import dataclasses
import os

import numpy as np

from tftransformer.data.examples import Examples
from tftransformer.data.split import Split
from tftransformer.errors import TransformerError
from tftransformer.evaluation.label_errors import find_label_errors, held_out_probabilities
from tftransformer.evaluation.reports import write_rows
from tftransformer.tasks.text_classifier import TextClassifier

_SHOWN = 10
_CHARACTERS = 60


@dataclasses.dataclass(frozen=True)
class LabelErrors:
    """Rows of a split whose labels are probably wrong, the clearest first.

    Args:
        split: The rows.
        rows: (R,) which of them, from 0.
        likelier: The likeliest label of each.
        probabilities: (R, 2) of the given label and of the likeliest one.
    """

    split: Split
    rows: np.ndarray
    likelier: list[str]
    probabilities: np.ndarray

    def __str__(self) -> str:
        found = len(self.rows)
        if not found:
            return f"labels: none of {len(self.split):,} looks wrong"
        lines = [f"labels: {found:,} of {len(self.split):,} look wrong, the clearest first:"]
        for row, other, (_, probability) in list(zip(self.rows, self.likelier, self.probabilities))[:_SHOWN]:
            text = self.split.texts[row]
            text = " ".join((text if isinstance(text, str) else " / ".join(text)).split())
            text = text if len(text) <= _CHARACTERS else f"{text[: _CHARACTERS - 1]}…"
            place = row + 1 if self.split.rows is None else self.split.rows[row]
            lines.append(f"  {place}: {self.split.targets[row]}, likelier {other} ({probability:.2f}): {text}")
        return "\n".join(lines)

    def write(self, path: str | os.PathLike) -> None:
        """Write a CSV file: text, the row's line in its source (else its number from 1), both labels and their probabilities."""
        lines = self.rows + 1 if self.split.rows is None else np.asarray(self.split.rows)[self.rows]
        columns = ("row", "label", "likelier_label", "probability", "likelier_probability")
        cells = [
            [line, self.split.targets[row], other, *(f"{p:.6f}" for p in pair)]
            for line, row, other, pair in zip(lines, self.rows, self.likelier, self.probabilities)
        ]
        write_rows(path, [self.split.texts[row] for row in self.rows], columns, cells)


def check_labels(classifier: TextClassifier, split: Split, examples: Examples, seed: int = 0) -> LabelErrors:
    """Look for wrong labels by a linear model on the vectors of an encoder that has not seen the labels.

    Each row is judged by a logistic regression that was fitted on the other folds' vectors (`evaluation.label_errors`),
    so that nothing has learnt a row's own label. It takes one pass through the encoder.

    Args:
        classifier: Before it is fine-tuned; its vectors are taken as they are.
        split: Rows with one label each.
        examples: The same rows, of the classifier's `preprocess`.
        seed: Random seed of the folds.

    Raises:
        TransformerError: Several labels a text, or a class with a single row.

    Example:
        >>> split = Split(["good film", "bad plot"] * 4, ["yes", "no"] * 4)
        >>> classifier = TextClassifier.from_preset("bert_12x192_en_uncased", labels=split.labels)
        >>> print(check_labels(classifier, split, classifier.preprocess(split)))
        labels: none of 8 looks wrong
    """
    if classifier.multi_label:
        raise TransformerError("check_labels is for one label a text")
    probabilities = held_out_probabilities(classifier.encode(examples), examples.targets, seed=seed)
    rows = find_label_errors(examples.targets, probabilities)
    likelier = probabilities[rows].argmax(-1)
    pairs = np.stack([probabilities[rows, examples.targets[rows]], probabilities[rows, likelier]], axis=1)
    return LabelErrors(split, rows, [classifier.labels[c] for c in likelier], pairs)
