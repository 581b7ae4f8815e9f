"""Tagging: a tag for each word, of entities in one of the usual schemes or plain."""

import dataclasses
import os
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from tftransformer.data.labels import sort_labels
from tftransformer.data.ragged import Ragged
from tftransformer.data.tagged import TaggedSplit
from tftransformer.errors import TransformerError, check_choice, near_miss
from tftransformer.evaluation.entity_f1 import EntityF1
from tftransformer.evaluation.reports import write_rows
from tftransformer.evaluation.tagging import (
    SCHEMES,
    allowed_transitions,
    convert_tags,
    entity_metrics,
    spans_of,
    tag_scheme,
    tags_of,
    viterbi,
)
from tftransformer.evaluation.tagging_report import TaggingReport, tagging_baselines
from tftransformer.export.serving import Signature
from tftransformer.finetuning.losses import SmoothedCrossEntropy
from tftransformer.objectives.adapted import AdaptedLoss, adapt_loss
from tftransformer.objectives.objective import Objective

# Where tags come in it, what is learned is the scheme that every reader understands.
_LEARNED_AS = {"IOB1": "IOB2"}


class TextSpan(NamedTuple):
    """A part of a text with a type: an entity, or with plain tags a word.

    `text` is `sentence[start:end]`, in characters; `probability` is the mean over its words.
    """

    text: str
    start: int
    end: int
    type: str
    probability: float


@dataclasses.dataclass
class Tagging(Objective):
    """Output (B, T, C), the logits of C tags for the first piece of each word.

    Args:
        tags: The C tags in the order of the logits.
        scheme: One of `evaluation.tagging.SCHEMES`, which the tags are of. None: found from the tags.
        decode: "viterbi", the most probable sequence that the scheme allows, or "argmax", the most probable tag of each word.

    Raises:
        TransformerError: Fewer than two tags, one twice, a tag that is not of the scheme, or one of the others is unknown.

    Example:
        >>> objective = Tagging(["O", "B-PLACE", "I-PLACE"])
        >>> objective.encode([["O", "I-PLACE"]]).values.tolist()
        [0, 1]
        >>> objective.decoded([np.array([[0.5, 0.1, 0.4], [0.2, 0.3, 0.5]])])
        [['O', 'B-PLACE']]
    """

    tags: Sequence[str] = ()
    scheme: str | None = None
    decode: str = "viterbi"

    def __post_init__(self) -> None:
        self.tags = tuple(str(tag) for tag in self.tags)
        if len(self.tags) < 2 or len(set(self.tags)) < len(self.tags):
            raise TransformerError(f"labels must be at least two different tags; got {list(self.tags)!r:.80}")
        check_choice("decode", self.decode, ("viterbi", "argmax"))
        if self.scheme is None:
            self.scheme = tag_scheme([self.tags])
            self.scheme = _LEARNED_AS.get(self.scheme, self.scheme)
        check_choice("scheme", self.scheme, SCHEMES)
        self._allowed = allowed_transitions(self.tags, self.scheme)

    # Targets.

    def encode(self, targets: Any) -> Ragged:
        """Return the ids of the tags of each sentence, brought into the scheme.

        Raises:
            TransformerError: A tag is none of the C.
        """
        rows = [list(row) for row in targets]
        numbers = {tag: number for number, tag in enumerate(self.tags)}
        ids = []
        for row, tags in zip(rows, self.in_scheme(rows), strict=True):
            for given, tag in zip(row, tags, strict=True):
                if tag not in numbers:
                    known = f"{', '.join(self.tags[:10])}{', …' if len(self.tags) > 10 else ''}"
                    raise TransformerError(
                        f"tags must be among those of the task, {known}; got {given!r}{near_miss(tag, self.tags)}"
                    )
            ids.append([numbers[tag] for tag in tags])
        return Ragged.of(ids, "int32")

    def in_scheme(self, rows: Sequence[Sequence[str]]) -> list[list[str]]:
        """Return the tags of sentences, of whatever scheme, in the task's own."""
        scheme = tag_scheme(rows)
        if (scheme == "plain") != (self.scheme == "plain"):
            if self.scheme == "plain" and not any(tag != "O" for row in rows for tag in row):
                return [list(row) for row in rows]
            raise TransformerError(f"tags must be of the task's scheme, {self.scheme}; got those of {scheme}")
        return [convert_tags(row, scheme, self.scheme) for row in rows]

    @property
    def classes(self) -> tuple:
        return tuple(self.tags)

    # Training.

    def compiled(self, loss: Any, metrics: Any, weighted_metrics: Any, smoothing: float) -> dict[str, Any]:
        """Return loss and metrics: cross-entropy, a mean over the words of a batch, accuracy, and the F1 of entities.

        Cross-entropy of Keras's is taken over logits. All metrics are given weights: without them padding would count.
        """
        if loss is None:
            loss = SmoothedCrossEntropy(smoothing, reduction="mean_with_sample_weight")
        else:
            loss = self._over_words(loss)
        given = [
            metric for metrics in (metrics, weighted_metrics) if metrics is not None for metric in _listed(metrics)
        ]
        none = metrics is None and weighted_metrics is None
        return {"loss": loss, "weighted_metrics": self.metrics() if none else given}

    def _over_words(self, loss: Any) -> Any:
        found = adapt_loss(loss, self)
        if isinstance(found, AdaptedLoss):
            raise TransformerError(
                f"loss must be of the ids of tags, as 'sparse_categorical_crossentropy' is, or your own; got {loss!r:.80}"
            )
        if isinstance(loss, str):
            # Keras's usual mean divides by padding, too.
            return type(found).from_config({**found.get_config(), "reduction": "mean_with_sample_weight"})
        return found

    def metrics(self) -> list[keras.metrics.Metric]:
        """Return the accuracy of tags and, of entities, their F1."""
        accuracy = keras.metrics.SparseCategoricalAccuracy(name="accuracy")
        return [accuracy] if self.scheme == "plain" else [accuracy, EntityF1(self.tags)]

    # Where each token has a tag of its own, few sentences bear more updates than few texts with one label (BUILD_NOTES.md).
    least_updates = 750

    # Predictions.

    def activate(self, output: Any) -> Any:
        """Return the probabilities of the tags, (B, T, C)."""
        return ops.softmax(ops.cast(output, "float32"), axis=-1)

    @property
    def output_shape(self) -> tuple[int, ...]:
        return (len(self.tags),)

    def ids_of(self, probabilities: np.ndarray) -> np.ndarray:
        """Return the ids (W,) of the tags of one sentence, of their probabilities (W, C)."""
        if self.decode == "argmax" or self.scheme == "plain" or not len(probabilities):
            return np.argmax(probabilities, axis=-1) if len(probabilities) else np.zeros(0, "int64")
        with np.errstate(divide="ignore"):
            return viterbi(np.log(probabilities), *self._allowed)

    def decoded(self, rows: Iterable[np.ndarray]) -> list[list[str]]:
        """Return the tags of each sentence, of their probabilities (W, C)."""
        return [[self.tags[number] for number in self.ids_of(row)] for row in rows]

    def spans(self, split: TaggedSplit, rows: Sequence[np.ndarray]) -> list[list[TextSpan]]:
        """Return the entities of each sentence as parts of its text; of plain tags each word, but for those with "O"."""
        found = []
        for text, words, probabilities in zip(split.texts, split.spans, rows, strict=True):
            ids = self.ids_of(probabilities)
            chosen = probabilities[np.arange(len(ids)), ids]
            spans = []
            for first, last, kind in spans_of([self.tags[number] for number in ids], self.scheme or "plain"):
                if kind == "O":
                    continue
                start, end = words[first][0], words[last - 1][1]
                spans.append(TextSpan(text[start:end], start, end, kind, float(chosen[first:last].mean())))
            found.append(spans)
        return found

    def report(self, split: TaggedSplit, rows: Sequence[np.ndarray], baselines: Sequence[dict] = ()) -> TaggingReport:
        """Return the figures of what `predict` returned for tagged sentences; `print` it.

        Raises:
            TransformerError: The sentences have no tags.
        """
        figures = entity_metrics(self.in_scheme(require_tags(split)), self.decoded(rows), scheme=self.scheme)
        return TaggingReport(figures, baselines)

    @property
    def monitor(self) -> tuple[str, str]:
        return ("val_accuracy" if self.scheme == "plain" else "val_entity_f1"), "max"

    def baselines(self, train: TaggedSplit, test: TaggedSplit, seed: int = 0) -> list[dict]:
        """Return the figures of the most frequent tag of each word and, where python-crfsuite is installed, of a linear CRF."""
        return tagging_baselines(train, test, self.scheme)

    def write_predictions(self, path: str | os.PathLike, data: TaggedSplit, outputs: Sequence[np.ndarray]) -> None:
        """Write a CSV file with a row a word: `sentence` by number from 1, `word`, `start` and `end` in it, `tag`, `prediction`
        and its `probability`."""
        words, rows = [], []
        told = self.in_scheme(require_tags(data))
        for number, (tags, probabilities) in enumerate(zip(told, outputs, strict=True)):
            words += data.words(number)
            ids = self.ids_of(probabilities)
            for tag, (start, end), found, chances in zip(tags, data.spans[number], ids, probabilities, strict=True):
                rows.append([number + 1, start, end, tag, self.tags[found], f"{chances[found]:.6f}"])
        write_rows(path, words, ("sentence", "start", "end", "tag", "prediction", "probability"), rows, "word")

    # What a server answers.

    compared = "probabilities"

    def served(self, words: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Return what a server answers for the words of B texts, of which the longest has W.

        Args:
            words: Result of `at_words`.

        Returns:
            `tag` (B, W) strings, "" behind the last word of a text; `start` and `end` (B, W) int32, its characters, -1 there;
            `probability` (B, W) of the tag and `probabilities` (B, W, C), float32, 0 there.
        """
        real = words["start"] >= 0
        probabilities = self.activate(words["logits"])
        if self.decode == "viterbi" and self.scheme != "plain":
            ids = viterbi_in_graph(tf.math.log(probabilities), real, *self._allowed)
        else:
            ids = tf.argmax(probabilities, -1, tf.int32)
        probabilities = tf.where(real[..., tf.newaxis], probabilities, 0.0)
        return {
            "tag": tf.where(real, tf.gather(tf.constant(list(self.tags)), ids), ""),
            "start": words["start"],
            "end": words["end"],
            "probability": tf.gather(probabilities, ids, batch_dims=2),
            "probabilities": probabilities,
        }

    def signature(self, *, network: Callable, layers: Callable, **parts: Any) -> Signature:
        """Return what a server answers: strings in, words with their places and tags out (`served`)."""
        return super().signature(
            network=lambda inputs: at_words(network(inputs), inputs),
            layers=lambda inputs: at_words(layers(inputs), inputs),
            shape=(0, len(self.tags)),
            **parts,
        )

    @property
    def served_labels(self) -> tuple[str, ...]:
        return self.tags

    def settings(self) -> dict[str, Any]:
        """Return its arguments as JSON values."""
        return {"labels": list(self.tags), "scheme": self.scheme, "decode": self.decode}


def require_tags(split: TaggedSplit) -> list[tuple[str, ...]]:
    """Return the tags of sentences.

    Raises:
        TransformerError: They have none.
    """
    if split.tags is None:
        raise TransformerError("data must have tags to be evaluated; got sentences without")
    return split.tags


def _listed(metrics: Any) -> list:
    return list(metrics) if isinstance(metrics, (list, tuple)) else [metrics]


def at_words(logits: tf.Tensor, inputs: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    """Return the logits (B, W, C) of words, and their `start` and `end` (B, W).

    Args:
        logits: (R, T, C) of windows.
        inputs: Result of `TaggedTextPreprocessor.graph`.
    """
    window, place = (tf.maximum(inputs[name], 0) for name in ("word_window", "word_place"))
    return {
        "logits": tf.gather_nd(tf.cast(logits, tf.float32), tf.stack([window, place], axis=-1)),
        "start": inputs["word_start"],
        "end": inputs["word_end"],
    }


def viterbi_in_graph(
    log_probabilities: tf.Tensor, real: tf.Tensor, transitions: np.ndarray, start: np.ndarray, end: np.ndarray
) -> tf.Tensor:
    """Return `evaluation.tagging.viterbi` of B sentences at once, in TensorFlow operations.

    Args:
        log_probabilities: (B, W, C).
        real: (B, W), False behind the last word of a sentence.
        transitions, start, end: (C, C), (C,) and (C,), True where allowed.

    Returns:
        int32 (B, W); anything behind the last word.

    Example:
        >>> scores = tf.math.log([[[0.5, 0.1, 0.4], [0.2, 0.3, 0.5]]])
        >>> allowed = np.array([[1, 1, 0], [1, 1, 1], [1, 1, 1]], bool)
        >>> viterbi_in_graph(scores, tf.fill([1, 2], True), allowed, np.array([True, True, False]), np.ones(3, bool))[0].numpy().tolist()
        [0, 1]
    """
    steps, first, last = (
        tf.constant(np.where(allowed, 0.0, -1e9), tf.float32) for allowed in (transitions, start, end)
    )
    # One more place, so that there is a first one where no sentence has a word.
    scores = tf.pad(tf.maximum(log_probabilities, -1e6), [[0, 0], [0, 1], [0, 0]])
    real = tf.pad(real, [[0, 0], [0, 1]])
    (rows, width), size = tf.unstack(tf.shape(real)), scores.shape[-1]
    stays = tf.tile(tf.range(size)[tf.newaxis], [rows, 1])

    def forward(i: tf.Tensor, best: tf.Tensor, came: tf.TensorArray) -> tuple:
        reached, here = best[:, :, tf.newaxis] + steps, real[:, i, tf.newaxis]
        came = came.write(i, tf.where(here, tf.argmax(reached, 1, tf.int32), stays))
        return i + 1, tf.where(here, tf.reduce_max(reached, 1) + scores[:, i], best), came

    came = tf.TensorArray(tf.int32, width, clear_after_read=False, element_shape=[None, size]).write(0, stays)
    opened = [tf.constant(1), first + scores[:, 0], came]
    _, best, came = tf.while_loop(lambda i, *_: i < width, forward, opened)

    def backward(i: tf.Tensor, tag: tf.Tensor, path: tf.TensorArray) -> tuple:
        return i - 1, tf.gather(came.read(i), tag, batch_dims=1), path.write(i, tag)

    path = tf.TensorArray(tf.int32, width, element_shape=[None])
    _, _, path = tf.while_loop(lambda i, *_: i >= 0, backward, [width - 1, tf.argmax(best + last, -1, tf.int32), path])
    return tf.transpose(path.stack())[:, :-1]


def complete_tags(tags: Iterable[str], scheme: str | None = None) -> tuple[tuple[str, ...], str]:
    """Return all tags of a scheme for the types that some tags name, and the scheme.

    Few sentences lack some: the first entity of a type that follows another of it has a tag that no training sentence may have.

    Args:
        tags: Tags, of any scheme.
        scheme: Scheme to write. None: that of the tags; IOB2 for those of IOB1.

    Raises:
        TransformerError: The tags are plain and the scheme is not, or the other way round.

    Example:
        >>> complete_tags(["O", "I-PLACE"])
        (('O', 'B-PLACE', 'I-PLACE'), 'IOB2')
    """
    names = sort_labels(tags)
    found = tag_scheme([names])
    scheme = _LEARNED_AS.get(found, found) if scheme is None else scheme
    if found == "plain" or scheme == "plain":
        if found != scheme:
            raise TransformerError(f"scheme must be 'plain' where tags are, and only there; got {scheme!r}")
        return names, scheme
    kinds = sort_labels(tag.partition("-")[2] for tag in names if tag != "O")
    written = dict.fromkeys(["O"])
    for kind in kinds:
        # Two neighbours, the second of three words, and one of one word, show all tags of a scheme.
        spans = [(0, 1, kind), (1, 4, kind)]
        written |= dict.fromkeys(tag for tag in tags_of(spans, 5, scheme) if tag != "O")
    return tuple(written), scheme
