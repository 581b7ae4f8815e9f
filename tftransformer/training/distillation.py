"""Learning from a teacher's hidden states: per word, so that the two vocabularies need not match.

After TinyBERT's and MiniLM's matching of blocks (Jiao et al. 2020, arXiv 1909.10351; Wang et al. 2020,
arXiv 2002.10957), with a term on the mean over the text, which is what a sentence encoder is used for.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from tftransformer.config import TransformerConfig
from tftransformer.errors import TransformerError
from tftransformer.training.encoder_states import encoder_states

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


def word_weights(words: Any, num_words: Any) -> tuple[Any, Any]:
    """The matrices that turn the vectors of tokens into means of each word's pieces.

    Args:
        words: (B, T) word numbers; negative at padding.
        num_words: W, more than the largest number.

    Returns:
        (B, W, T) float32 and (B, W), 1 where there is a word.

    Example:
        >>> weights, there = word_weights(ops.array([[0, 0, 1, -1]]), 3)
        >>> weights[0].numpy().tolist(), there.numpy().tolist()
        ([[0.5, 0.5, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0], [0.0, 0.0, 0.0, 0.0]], [[1.0, 1.0, 0.0]])
    """
    belongs = ops.cast(words[:, None, :] == ops.arange(num_words)[None, :, None], "float32")
    counts = ops.sum(belongs, axis=-1, keepdims=True)
    return belongs / ops.maximum(counts, 1.0), ops.cast(counts[..., 0] > 0, "float32")


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
        teacher: A frozen encoder.
        config: Its config.
        student_layers: Number of layers of the student.
        basis: (D_teacher, D), what the student should make of the teacher's vectors.

    Raises:
        TransformerError: The basis does not fit the teacher.
    """

    def __init__(
        self, teacher: keras.Model, config: TransformerConfig, student_layers: int, basis: np.ndarray
    ) -> None:
        self.pairs = matched_blocks(config.num_layers, student_layers)
        self.teacher, self.config = teacher, config
        self.teacher.trainable = False
        self.set_basis(basis)
        self.variances = [1.0] * len(self.pairs)
        self.sentence_variance = 1.0

    @property
    def student_blocks(self) -> list[int]:
        """Blocks of the student whose outputs `losses` takes, the last one last."""
        return [block for _, block in self.pairs]

    def set_basis(self, basis: np.ndarray) -> None:
        """Take another basis; the variances have to be measured anew."""
        width = self.config.hidden_dim
        if basis.shape[0] != width:
            raise TransformerError(
                f"basis must have as many rows as the teacher is wide, {width}; got {basis.shape[0]}"
            )
        self.basis = np.asarray(basis, "float32")

    def get_state(self) -> dict[str, np.ndarray]:
        """What a continued run needs: the basis and the measured variances."""
        scales = np.array([*self.variances, self.sentence_variance], "float64")
        return {"basis": self.basis, "variances": scales}

    def set_state(self, state: Mapping[str, np.ndarray]) -> None:
        """The inverse of `get_state`."""
        self.set_basis(state["basis"])
        *self.variances, self.sentence_variance = (float(value) for value in state["variances"])

    def measure(self, batches: Iterable[Mapping[str, Any]]) -> None:
        """Measure how much the teacher's vectors vary, so that the losses are relative to that.

        The scale is fixed once: by batch it would jump, for a batch of one long text has no variance at all.

        Args:
            batches: A few, of `ShardBatches` with a teacher.
        """
        gathered: list[list[np.ndarray]] = [[] for _ in self.pairs]
        texts = []
        for batch in batches:
            targets = self.targets(batch)
            there = ops.convert_to_numpy(targets["there"])
            for vectors, wanted in zip(gathered, targets["words"], strict=True):
                vectors.append(ops.convert_to_numpy(wanted)[there > 0])
            means = ops.convert_to_numpy(text_means(targets["words"][-1], targets["there"]))
            texts.append(means[there.any(axis=1)])
        self.variances = [_variance(np.concatenate(vectors)) for vectors in gathered]
        self.sentence_variance = _variance(np.concatenate(texts))

    def targets(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        """What the student should give; constant, so it belongs outside what is differentiated.

        Returns:
            `words`: for each matched block (B, W, D) float32; `there`: (B, W), 1 where there is a word.
        """
        taught = self.teacher_states(batch)
        num_words = ops.shape(batch["words"])[1]
        weights, there = word_weights(batch["teacher_words"], num_words)
        words = []
        for hidden in taught:
            # The projection before the means: it halves the width that they run over.
            flat = ops.reshape(hidden, (-1, self.basis.shape[0]))
            projected = ops.matmul(flat, ops.cast(ops.convert_to_tensor(self.basis), hidden.dtype))
            projected = ops.reshape(projected, (*ops.shape(hidden)[:2], self.basis.shape[1]))
            words.append(ops.matmul(weights, ops.cast(projected, "float32")))
        return {"words": words, "there": there}

    def teacher_states(self, batch: Mapping[str, Any]) -> list[Any]:
        """The outputs (B, T', D_teacher) of the teacher's matched blocks."""
        inputs = {name: batch[f"teacher_{name}"] for name in ("token_ids", "padding_mask", "segment_ids")}
        states = encoder_states(self.teacher, self.config, inputs)
        return [states[block] for block, _ in self.pairs]

    def losses(
        self, hidden: Sequence[Any], batch: Mapping[str, Any], targets: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """Terms of the loss, unweighted, relative to the teacher's variance: 1 is no better than the mean.

        Args:
            hidden: (B, T, D) outputs of `student_blocks`.
            batch: Of `ShardBatches` with a teacher.
            targets: Of the same batch; None: found here.

        Returns:
            `inner` (mean over the inner blocks), `word` (the last block) and `sentence` (means over texts).
        """
        targets = self.targets(batch) if targets is None else targets
        there = targets["there"]
        weights, _ = word_weights(batch["words"], ops.shape(batch["words"])[1])
        errors = []
        for own, wanted, variance in zip(hidden, targets["words"], self.variances, strict=True):
            means = ops.matmul(weights, ops.cast(own, "float32"))
            errors.append(mean_square(means - wanted, there) / variance)
        real = ops.cast(ops.any(there > 0, axis=1), "float32")
        sentence = mean_square(text_means(means, there) - text_means(wanted, there), real)
        inner = sum(errors[:-1]) / max(len(errors) - 1, 1)
        return {
            "inner": ops.convert_to_tensor(inner, "float32"),
            "word": errors[-1],
            "sentence": sentence / self.sentence_variance,
        }

    def loss(
        self, hidden: Sequence[Any], batch: Mapping[str, Any], targets: Mapping[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """The weighted sum of the terms, and the terms."""
        terms = self.losses(hidden, batch, targets)
        total = (
            INNER_WEIGHT * terms["inner"] + LAST_WEIGHT * terms["word"] + SENTENCE_WEIGHT * terms["sentence"]
        )
        return total, terms


def text_means(means: Any, there: Any) -> Any:
    """(B, D): the mean over the words of each text, of (B, W, D) and (B, W)."""
    return ops.sum(means * there[..., None], axis=1) / ops.maximum(ops.sum(there, axis=1, keepdims=True), 1.0)


def _variance(vectors: np.ndarray) -> float:
    return max(float(np.square(vectors - vectors.mean(axis=0)).sum(axis=-1).mean()), 1e-6)
