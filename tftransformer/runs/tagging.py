"""Runs of `tag`: sentences, and a tag for each of their words."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tftransformer import files
from tftransformer.data.dedup import well_formed
from tftransformer.data.readers.tagged import load_tagged
from tftransformer.data.tagged import TaggedSplits
from tftransformer.errors import TransformerError
from tftransformer.evaluation import plots
from tftransformer.evaluation.tagging import parted
from tftransformer.evaluation.tagging_report import TaggingReport
from tftransformer.objectives.tagging import TextSpan
from tftransformer.runs.finished import PredictingRun
from tftransformer.runs.tagging_options import TaggingOptions
from tftransformer.tasks.token_classifier import TokenClassifier

# Of the picture of mistakes.
_MOST_TYPES = 40


class TaggingRun(PredictingRun):
    """A run of `tag`."""

    task_class = TokenClassifier
    options_class = TaggingOptions
    rows = "sentences"

    @classmethod
    def load(cls, options: TaggingOptions, **fractions: float) -> TaggedSplits:
        columns = {name: getattr(options, name) for name in options.columns}
        return load_tagged(**options.data_paths, seed=options.seed, **columns, **fractions)

    def settings(self) -> dict[str, Any]:
        options = self.options
        return {
            "labels": self.splits.train.labels,
            "scheme": options.scheme,
            "decode": options.decode,
            "overlap": options.overlap,
        }

    def reported(self, report: TaggingReport, outputs: Sequence[np.ndarray]) -> tuple[list[str], dict[str, Any]]:
        objective = self.task.objective
        pairs = zip(objective.in_scheme(self.test.tags), objective.decoded(outputs), strict=True)
        kinds = [(_kind(told, objective.scheme), _kind(found, objective.scheme))
                 for row, answer in pairs for told, found in zip(row, answer, strict=True)]  # fmt: skip
        names = list(dict.fromkeys(_kind(tag, objective.scheme) for tag in self.task.labels))
        counts = np.zeros((len(names), len(names)), int)
        np.add.at(counts, tuple(np.array([[names.index(name) for name in pair] for pair in kinds], int).T), 1)
        title = f"{self.folder.name}: {report['tokens']:,} words of {len(self.test):,} {self.test.name} sentences"
        if len(names) <= _MOST_TYPES:
            plots.plot_confusion_matrix(self.folder.confusion_matrix_path, counts, names, title=title)
        return [], {}

    # Answers.

    @classmethod
    def answers(cls, task: TokenClassifier, texts: Sequence[str]) -> list[list[TextSpan]]:
        if not all(isinstance(text, str) for text in texts):
            raise TransformerError("texts must be single ones for tags; the file holds pairs")
        return task.find_spans(list(texts))

    @classmethod
    def shown(cls, task: TokenClassifier, text: str, answer: Sequence[TextSpan]) -> str:
        found = (f"{span.start}-{span.end} {span.type} {span.probability:.4f} {span.text}" for span in answer)
        return "\n  ".join([text, *found])

    @classmethod
    def write(
        cls, path: str | Path, task: TokenClassifier, texts: Sequence[str], answers: Sequence[Sequence[TextSpan]]
    ) -> None:
        lines = [
            json.dumps({
                "text": well_formed(text),
                "entities": [
                    {"start": span.start, "end": span.end, "label": span.type, "probability": round(span.probability, 6)}
                    for span in spans
                ],
            }, ensure_ascii=False)
            for text, spans in zip(texts, answers, strict=True)
        ]  # fmt: skip
        files.write_text(path, "".join(f"{line}\n" for line in lines))


def _kind(tag: str, scheme: str) -> str:
    """Return a tag without the prefix for the word's place in an entity."""
    return tag if scheme == "plain" or tag == "O" else parted(tag)[1]
