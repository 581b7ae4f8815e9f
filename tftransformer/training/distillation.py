"""Learning from a teacher's hidden states: per word, so that the two vocabularies need not match.

After TinyBERT's and MiniLM's matching of blocks (Jiao et al. 2020, arXiv 1909.10351; Wang et al. 2020,
arXiv 2002.10957), with a term on the mean over the text, which is what a sentence encoder is used for.
"""

from collections.abc import Mapping, Sequence
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


def relative_error(values: Any, wanted: Any, weights: Any) -> Any:
    """Squared error over the variance of what is wanted: 0 is perfect, 1 is no better than the mean.

    Args:
        values: (..., D).
        wanted: (..., D), without gradient.
        weights: (...), 1 where the vectors count.
    """
    weights = weights[..., None]
    axes = tuple(range(len(wanted.shape) - 1))
    mean = ops.sum(wanted * weights, axis=axes) / ops.maximum(ops.sum(weights), 1.0)
    variance = ops.sum(ops.square(wanted - mean) * weights)
    return ops.sum(ops.square(values - wanted) * weights) / ops.maximum(variance, 1e-6)


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

    def __init__(self, teacher: keras.Model, teacher_layers: int, student_layers: int, basis: np.ndarray) -> None:
        if basis.shape[0] != teacher.output.shape[-1]:
            raise TransformerError(
                f"basis must have as many rows as the teacher is wide, {teacher.output.shape[-1]}; got {basis.shape[0]}"
            )
        self.pairs = matched_blocks(teacher_layers, student_layers)
        outputs = [teacher.get_layer(f"encoder_block_{i}").output for i, _ in self.pairs]
        self.teacher = keras.Model(teacher.input, outputs)
        self.teacher.trainable = False
        self.basis = ops.convert_to_tensor(basis, "float32")

    @property
    def student_blocks(self) -> list[int]:
        """Blocks of the student whose outputs `losses` takes, the last one last."""
        return [block for _, block in self.pairs]

    def losses(self, hidden: Sequence[Any], batch: Mapping[str, Any]) -> dict[str, Any]:
        """Terms of the loss, unweighted: `inner`, `word` and `sentence`, relative errors.

        Args:
            hidden: (B, T, D) outputs of `student_blocks`.
            batch: Of `PretrainingBatches` with a teacher.
        """
        inputs = {name: batch[f"teacher_{name}"] for name in self.teacher.input}
        taught = [ops.stop_gradient(y) for y in self.teacher(inputs, training=False)]
        num_words = ops.max(batch["words"]) + 1
        errors = []
        for own, theirs in zip(hidden, taught, strict=True):
            wanted, _ = word_means(theirs, batch["teacher_words"], num_words)
            means, there = word_means(own, batch["words"], num_words)
            wanted = ops.matmul(wanted, self.basis)
            errors.append(relative_error(means, wanted, there))
        count = ops.sum(there, axis=1, keepdims=True)
        sentence = relative_error(ops.sum(means, axis=1) / count, ops.sum(wanted, axis=1) / count, there[:, 0])
        inner = sum(errors[:-1]) / max(len(errors) - 1, 1)
        return {"inner": ops.convert_to_tensor(inner, "float32"), "word": errors[-1], "sentence": sentence}

    def loss(self, hidden: Sequence[Any], batch: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
        """The weighted sum of the terms, and the terms."""
        terms = self.losses(hidden, batch)
        total = INNER_WEIGHT * terms["inner"] + LAST_WEIGHT * terms["word"] + SENTENCE_WEIGHT * terms["sentence"]
        return total, terms
