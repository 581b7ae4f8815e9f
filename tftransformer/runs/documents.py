"""A classifier of long documents from data to an exported model, as the command `classify_documents` runs it."""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import numpy as np

from tftransformer.checkpoints.presets import load_preset
from tftransformer.data.examples import Examples
from tftransformer.data.split import Split, Splits
from tftransformer.data.splitting import subset
from tftransformer.errors import TransformerError
from tftransformer.evaluation.intervals import mcnemar
from tftransformer.evaluation.reports import Report
from tftransformer.progress import say
from tftransformer.runs.classification import ClassificationRun, build_classifier, load_splits
from tftransformer.runs.options import DocumentOptions
from tftransformer.runs.run_folder import RunFolder, check_free
from tftransformer.runs.train import tested_split
from tftransformer.tasks.document_classifier import DocumentClassifier
from tftransformer.tasks.loading import saved_class
from tftransformer.tasks.text_classifier import TextClassifier

_SHOWN_DOCUMENTS = 3
_SHOWN_CHARACTERS = 90


def train(options: DocumentOptions) -> Report:
    """Fine-tune, evaluate, save and export a `DocumentClassifier`, and show the weights of some chunks.

    Args:
        options: The run. With `against_truncation` a `TextClassifier`, which reads the beginning of each text alone,
            is fine-tuned alike in a run of its own; `output_dir` then gets a neighbour, `…-truncated`.

    Returns:
        The document classifier's report on the test split, which is also printed.
    """
    if options.against_truncation and _reads_chunks(options.preset):
        raise TransformerError(
            f"against_truncation needs a preset without attention over chunks; {options.preset} has one"
        )
    if options.against_truncation:
        check_free(options.truncated_dir, options.overwrite)  # before the first of the two runs
    if options.against_truncation and options.minutes is not None:
        # Both are to be compared on the same rows.
        options = dataclasses.replace(options, test_all=True)
    splits = _splits(options)
    chunks, beginning = _ChunksOf(getattr(splits, tested_split(splits))), _Answers()
    report = ClassificationRun(options, splits, build, chunks).train()
    if options.against_truncation:
        alike = dataclasses.replace(options, output_dir=options.truncated_dir)
        other = ClassificationRun(alike, splits, functools.partial(build, documents=False), beginning).train()
        print(
            f"\naccuracy / macro-F1: {report['accuracy']:.3f} / {report['macro_f1']:.3f} with chunks, "
            f"{other['accuracy']:.3f} / {other['macro_f1']:.3f} truncated\n"
            f"p {mcnemar(chunks.right, beginning.right):.3f}: that accuracies differ so much by the chance of the test "
            "texts alone (McNemar)"
        )
    return report


def _reads_chunks(preset: str) -> bool:
    kind = saved_class(load_preset(preset))
    return kind is not None and issubclass(kind, DocumentClassifier)


def build(options: DocumentOptions, data: Split, documents: bool = True) -> TextClassifier:
    """The document classifier of the options, or the plain one that reads the beginning of each text."""
    if not documents:
        return build_classifier(options, data)
    chunks = {name: getattr(options, name) for name in ("max_chunks", "overlap", "chunk_blocks")}
    return build_classifier(options, data, DocumentClassifier, **chunks)


def describe_lengths(classifier: DocumentClassifier, train: Examples) -> str:
    """Return a line on how many training texts are longer than one chunk, and than all chunks."""
    lengths = train.tokens.full_lengths
    cut = classifier.preprocessor.chunker
    longer, lost = ((lengths > limit).mean() for limit in (cut.sequence_length, cut.document_length))
    return (
        f"of {len(train):,} texts of train {longer:.1%} are longer than one chunk of {cut.sequence_length} tokens, and {lost:.1%} "
        f"longer than {cut.max_chunks} chunks, {cut.document_length:,} tokens"
    )


def describe_weights(classifier: DocumentClassifier, data: Split) -> str:
    """The weights of the chunks of the first documents that have several."""
    found = [document for document in classifier.chunk_weights(data.texts[:50]) if len(document) > 1]
    if not found:
        return "no document among the first 50 has several chunks"
    lines = ["what counts in the first documents of several chunks:"]
    for number, document in enumerate(found[:_SHOWN_DOCUMENTS], start=1):
        for text, weight in document:
            line = " ".join(text.split())
            end = "…" if len(line) > _SHOWN_CHARACTERS else ""
            lines.append(f"  document {number}  {weight:.3f}  {line[:_SHOWN_CHARACTERS]}{end}")
    return "\n".join(lines)


class _Answers:
    """Notes which texts of the test a run gets right."""

    right: np.ndarray

    def before(self, classifier: TextClassifier, examples: Mapping[str, Examples]) -> None:
        pass

    def after(self, classifier: TextClassifier, run: RunFolder, right: np.ndarray) -> dict[str, Any]:
        self.right = right
        return {}


class _ChunksOf(_Answers):
    """Says how long the documents are before training, and which of their chunks count after it."""

    def __init__(self, test: Split) -> None:
        self._test = test

    def before(self, classifier: DocumentClassifier, examples: Mapping[str, Examples]) -> None:
        say(describe_lengths(classifier, examples["train"]))

    def after(self, classifier: DocumentClassifier, run: RunFolder, right: np.ndarray) -> dict[str, Any]:
        say(describe_weights(classifier, self._test))
        return super().after(classifier, run, right)


def _splits(options: DocumentOptions) -> Splits:
    splits = load_splits(options)
    if splits.train.is_pair:
        raise TransformerError("documents must be single texts; the data hold pairs")
    return with_test_examples(splits, options)


def with_test_examples(splits: Splits, options: DocumentOptions) -> Splits:
    """The splits with as many test rows as the options say, chosen by the seed."""
    name = tested_split(splits)
    test = getattr(splits, name)
    if options.test_examples is None or test is None:
        return splits
    return splits._replace(**{name: subset(test, options.test_examples, options.seed)})
