"""Texts of several tasks, some of which may take pairs, for one encoder."""

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import tensorflow as tf

from tftransformer.data.examples import Examples
from tftransformer.data.task_sampling import TaskExamples, join_tasks
from tftransformer.data.texts import Texts, as_texts
from tftransformer.errors import TransformerError
from tftransformer.preprocessing.text import TextPreprocessor
from tftransformer.text.base import Tokenizer

INPUTS = ("token_ids", "padding_mask", "segment_ids")


class SeveralTextsPreprocessor(TextPreprocessor):
    """From the texts of each task to the rows of all, one task after another.

    Args:
        tokenizer: Text to ids.
        sequence_length: Longest sequence in tokens, special tokens included; longer ones are truncated.
        objective: `SeveralClassifications`, whose tasks know whether they take pairs (`text_pairs`).
    """

    def __init__(self, tokenizer: Tokenizer, sequence_length: int, objective: Any) -> None:
        super().__init__(tokenizer, sequence_length)
        self._objective = objective

    def graph(self, *texts: tf.Tensor) -> dict[str, tf.Tensor]:
        inputs = super().graph(*texts)
        return {name: tf.cast(inputs[name], tf.int32) for name in INPUTS}

    def joined(self, data: Mapping[str, Any]) -> TaskExamples:
        """Return the labelled rows of all tasks.

        Args:
            data: By task: a Split, (texts, labels), (texts, labels, weights) or a finite dataset.

        Raises:
            TransformerError: A task without rows, or what does not fit the task.
        """
        parts = {}
        for name, given in data.items():
            # (texts, labels) and (texts, labels, weights); anything else says itself what it holds.
            texts = as_texts(*given) if isinstance(given, tuple) else as_texts(given)
            if not len(texts):
                raise TransformerError(f"every task must have rows; {name!r} has none")
            parts[self._objective.columns(name).number] = self.examples_of_task(name, texts)
        return replace(join_tasks(parts, self._objective.target_width), maker=self.maker(self._objective))

    def examples_of_task(self, name: str, texts: Texts, labelled: bool = True) -> Examples:
        """Return the rows of one task; without targets unless `labelled`."""
        task = self._objective.tasks[name]
        pairs = texts.second is not None
        if len(texts) and task.text_pairs not in (None, pairs):
            kinds = ("single texts", "pairs of texts")
            raise TransformerError(f"task {name!r} is of {kinds[task.text_pairs]}; got {kinds[pairs]}")
        if labelled and texts.targets is None:
            raise TransformerError(f"task {name!r} must have labels: give a Split with targets, or (texts, labels)")
        try:
            targets = task.encode(texts.targets) if labelled else None
        except TransformerError as error:
            raise TransformerError(f"task {name!r}: {error}") from None
        return self.tokenized(texts, targets, self._objective)

    @contextlib.contextmanager
    def deciding(self, data: TaskExamples) -> Iterator[None]:
        tasks = list(self._objective.tasks.values())
        before = [task.text_pairs for task in tasks]
        rows = np.split(data.tokens.segments, np.cumsum(data.sizes)[:-1])
        for task, segments in zip(tasks, rows, strict=True):
            task.text_pairs = bool((segments == 2).any())
        try:
            yield
        except BaseException:
            for task, pairs in zip(tasks, before, strict=True):
                task.text_pairs = pairs
            raise
