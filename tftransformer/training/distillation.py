"""Learning from a teacher's hidden states: per word, so that the two vocabularies need not match.

After TinyBERT's and MiniLM's matching of blocks (Jiao et al. 2020, arXiv 1909.10351; Wang et al. 2020,
arXiv 2002.10957), with a term on the mean over the text, which is what a sentence encoder is used for.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from tftransformer.errors import TransformerError

LAST_WEIGHT = 1.0
SENTENCE_WEIGHT = 1.0
# Shared by all the blocks before the last.
INNER_WEIGHT = 1.0


def matched_blocks(teacher_layers: int, student_layers: int) -> list[tuple[int, int]]:
    """(teacher's block, student's block) pairs whose outputs should agree; the last pair is the two ends.

    Example:
        >>> matched_blocks(2, 6)
        [(0, 2), (1, 5)]
        >>> matched_blocks(6, 4)
        [(5, 3)]
    """
    if student_layers % teacher_layers:
        return [(teacher_layers - 1, student_layers - 1)]
    shares = student_layers // teacher_layers
    return [(i, (i + 1) * shares - 1) for i in range(teacher_layers)]


def word_means(hidden: Any, words: Any, num_words: Any) -> tuple[Any, Any]:
    """Mean of the vectors of each word's pieces.

    Args:
        hidden: (B, T, D).
        words: (B, T) word numbers; negative at padding.
        num_words: W, one more than the largest number.

    Returns:
        (B, W, D) float32, zero where a row has fewer words, and (B, W), 1 where there is a word.

    Example:
        >>> means, there = word_means(ops.reshape(ops.arange(3.0), (1, 3, 1)), ops.array([[0, 0, 1]]), 2)
        >>> means[0, :, 0].numpy().tolist()
        [0.5, 2.0]
    """
    belongs = ops.cast(words[:, None, :] == ops.arange(num_words)[None, :, None], "float32")
    counts = ops.sum(belongs, axis=-1)
    means = ops.matmul(belongs, ops.cast(hidden, "float32")) / ops.maximum(counts, 1.0)[..., None]
    return means, ops.cast(counts > 0, "float32")


def mean_square(values: Any, weights: Any) -> Any:
    """Mean over all vectors that count of their squared length.

    Args:
        values: (..., D).
        weights: (...), 1 where the vectors count.
    """
    return ops.sum(ops.square(values) * weights[..., None]) / ops.maximum(ops.sum(weights), 1.0)


class Distillation:
    """The distillation loss of a student's block outputs.

    Args:
        teacher: A frozen encoder; its config's and the student's numbers of blocks decide what is matched.
        teacher_layers: Number of blocks of the teacher.
        student_layers: Number of blocks of the student.
        basis: (D_teacher, D), what the student should make of the teacher's vectors.

    Raises:
        TransformerError: The basis does not fit the teacher.
    """

    def __init__(
        self, teacher: keras.Model, teacher_layers: int, student_layers: int, basis: np.ndarray
    ) -> None:
        if basis.shape[0] != teacher.output.shape[-1]:
            raise TransformerError(
                f"basis must have as many rows as the teacher is wide, {teacher.output.shape[-1]}; "
                f"got {basis.shape[0]}"
            )
        self.pairs = matched_blocks(teacher_layers, student_layers)
        outputs = [teacher.get_layer(f"encoder_block_{i}").output for i, _ in self.pairs]
        self.teacher = keras.Model(teacher.input, outputs)
        self.teacher.trainable = False
        self.basis = ops.convert_to_tensor(basis, "float32")
        self.variances = [1.0] * len(self.pairs)
        self.sentence_variance = 1.0

    @property
    def student_blocks(self) -> list[int]:
        """Blocks of the student whose outputs `losses` takes, the last one last."""
        return [block for _, block in self.pairs]

    def measure(self, batches: Iterable[Mapping[str, Any]]) -> None:
        """Measure how much the teacher's vectors vary, so that the losses are relative to that.

        The scale is fixed once: by batch it would jump, for a batch of one long text has no variance at all.

        Args:
            batches: A few, of `PretrainingBatches` with a teacher.
        """
        gathered: list[list[np.ndarray]] = [[] for _ in self.pairs]
        texts = []
        for batch in batches:
            for vectors, (wanted, there) in zip(gathered, self._wanted(batch), strict=True):
                kept = ops.convert_to_numpy(there).astype(bool)
                vectors.append(ops.convert_to_numpy(wanted)[kept])
            texts.append(ops.convert_to_numpy(text_means(wanted, there)))
        self.variances = [_variance(np.concatenate(vectors)) for vectors in gathered]
        self.sentence_variance = _variance(np.concatenate(texts))

    def losses(self, hidden: Sequence[Any], batch: Mapping[str, Any]) -> dict[str, Any]:
        """Terms of the loss, unweighted, relative to the teacher's variance: 1 is no better than the mean.

        Args:
            hidden: (B, T, D) outputs of `student_blocks`.
            batch: Of `PretrainingBatches` with a teacher.

        Returns:
            `inner` (mean over the inner blocks), `word` (the last block) and `sentence` (means over texts).
        """
        errors = []
        for own, (wanted, there), variance in zip(hidden, self._wanted(batch), self.variances, strict=True):
            means, _ = word_means(own, batch["words"], wanted.shape[1] or ops.shape(wanted)[1])
            errors.append(mean_square(means - wanted, there) / variance)
        sentence = mean_square(text_means(means, there) - text_means(wanted, there), there[:, 0])
        inner = sum(errors[:-1]) / max(len(errors) - 1, 1)
        return {
            "inner": ops.convert_to_tensor(inner, "float32"),
            "word": errors[-1],
            "sentence": sentence / self.sentence_variance,
        }

    def loss(self, hidden: Sequence[Any], batch: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
        """The weighted sum of the terms, and the terms."""
        terms = self.losses(hidden, batch)
        total = (
            INNER_WEIGHT * terms["inner"] + LAST_WEIGHT * terms["word"] + SENTENCE_WEIGHT * terms["sentence"]
        )
        return total, terms

    def _wanted(self, batch: Mapping[str, Any]) -> list[tuple[Any, Any]]:
        """What each matched block should give for words, (B, W, D), and (B, W), 1 where there is a word."""
        inputs = {name: batch[f"teacher_{name}"] for name in self.teacher.input}
        taught = self.teacher(inputs, training=False)
        taught = taught if isinstance(taught, (list, tuple)) else [taught]
        words, num_words = batch["teacher_words"], ops.max(batch["teacher_words"]) + 1
        wanted = []
        for hidden in taught:
            means, there = word_means(ops.stop_gradient(hidden), words, num_words)
            wanted.append((ops.matmul(means, self.basis), there))
        return wanted


def text_means(means: Any, there: Any) -> Any:
    """(B, D): the mean over the words of each text, of (B, W, D) and (B, W)."""
    return ops.sum(means * there[..., None], axis=1) / ops.maximum(ops.sum(there, axis=1, keepdims=True), 1.0)


def _variance(vectors: np.ndarray) -> float:
    return max(float(np.square(vectors - vectors.mean(axis=0)).sum(axis=-1).mean()), 1e-6)
