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
        checked: Number of rows that were judged.
        unchecked: Labels with a single row, which no other row can confirm.
    """

    split: Split
    rows: np.ndarray
    likelier: list[str]
    probabilities: np.ndarray
    checked: int
    unchecked: tuple[str, ...] = ()

    def __str__(self) -> str:
        return "\n".join([*self._found(), *self._left_out()])

    def _left_out(self) -> list[str]:
        if not self.unchecked:
            return []
        named = ", ".join(self.unchecked[:_SHOWN]) + (", …" if len(self.unchecked) > _SHOWN else "")
        return [f"labels: not checked, as there is a single row of each: {named}"]

    def _found(self) -> list[str]:
        found = len(self.rows)
        if not self.checked:
            return ["labels: none could be checked, which takes two rows of each of two labels"]
        if not found:
            return [f"labels: none of {self.checked:,} looks wrong"]
        lines = [f"labels: {found:,} of {self.checked:,} look wrong, the clearest first:"]
        for row, other, (_, probability) in list(zip(self.rows, self.likelier, self.probabilities))[:_SHOWN]:
            text = self.split.texts[row]
            text = " ".join((text if isinstance(text, str) else " / ".join(text)).split())
            text = text if len(text) <= _CHARACTERS else f"{text[: _CHARACTERS - 1]}…"
            place = row + 1 if self.split.rows is None else self.split.rows[row]
            lines.append(f"  {place}: {self.split.targets[row]}, likelier {other} ({probability:.2f}): {text}")
        return lines

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
    so that nothing has learnt a row's own label. It takes one pass through the encoder. A label with a single row cannot be
    judged: it is left out and named.

    Args:
        classifier: Before it is fine-tuned; its vectors are taken as they are.
        split: Rows with one label each.
        examples: The same rows, of the classifier's `preprocess`.
        seed: Random seed of the folds.

    Raises:
        TransformerError: Several labels a text.

    Example:
        >>> split = Split(["good film", "bad plot"] * 4, ["yes", "no"] * 4)
        >>> classifier = TextClassifier.from_preset("bert_12x192_en_uncased", labels=split.labels)
        >>> print(check_labels(classifier, split, classifier.preprocess(split)))
        labels: none of 8 looks wrong
    """
    if classifier.multi_label:
        raise TransformerError("check_labels is for one label a text")
    targets = examples.targets.values
    counts = np.bincount(targets, minlength=len(classifier.labels))
    checked = np.flatnonzero(counts[targets] > 1)
    unchecked = tuple(classifier.labels[i] for i in np.flatnonzero(counts == 1))
    # Ids of the labels that can be judged, without gaps.
    ids, given = np.unique(targets[checked], return_inverse=True)
    if len(ids) < 2:
        return LabelErrors(split, checked[:0], [], np.zeros((0, 2)), 0, unchecked)
    probabilities = held_out_probabilities(classifier.encode(examples.take(checked)), given, seed=seed)
    rows = find_label_errors(given, probabilities)
    likelier = probabilities[rows].argmax(-1)
    pairs = np.stack([probabilities[rows, given[rows]], probabilities[rows, likelier]], axis=1)
    named = [classifier.labels[ids[c]] for c in likelier]
    return LabelErrors(split, checked[rows], named, pairs, len(checked), unchecked)
