"""Learning from a teacher's hidden states: per word, so that the two vocabularies need not match.

After TinyBERT's and MiniLM's matching of blocks (Jiao et al. 2020, arXiv 1909.10351; Wang et al. 2020,
arXiv 2002.10957), with a term on the mean over the text, which is what a sentence encoder is used for. The student
regresses the teacher's vectors times a projection with orthonormal columns.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from tftransformer.config import TransformerConfig
from tftransformer.errors import TransformerError
from tftransformer.models.walk import hidden_states, stack_of
from tftransformer.pretraining.inheritance import LAST_OUTPUT_WEIGHT

PROCRUSTES_STEPS = 50
# Fraction of the mean variance added where the first guess of a projection divides by the teacher's variances.
RIDGE = 1e-3


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
    parts = student_layers // teacher_layers
    return [(i, (i + 1) * parts - 1) for i in range(teacher_layers)]


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


class HiddenStateMatching(keras.layers.Layer):
    """The squared distance of a student's block outputs from its teacher's, relative to the teacher's variance.

    Its terms are `inner` (mean over the inner blocks), `word` (the last block) and `sentence` (means over texts); 1 is
    no better than the teacher's mean vector. `measure` the variances before training.

    Args:
        teacher: The teacher's encoder; it is frozen.
        config: The teacher's config.
        student: The student's config.
        projection: (D_teacher, D) from the teacher's vectors to what the student should give. None: to be set
            later (`self.projection.assign`), by `inherit`, `fit_projection` or a checkpoint.

    Raises:
        TransformerError: The projection does not fit teacher and student.
    """

    terms = ("inner", "word", "sentence")

    def __init__(
        self,
        teacher: keras.Model,
        config: TransformerConfig,
        student: TransformerConfig,
        projection: np.ndarray | None = None,
    ) -> None:
        super().__init__(name="distillation", dtype="float32")
        self.pairs = matched_blocks(config.num_layers, student.num_layers)
        self.teacher, self.config = teacher, config
        self.teacher.trainable = False
        shape = (config.hidden_dim, student.hidden_dim)
        if projection is not None and projection.shape != shape:
            raise TransformerError(f"projection must have the shape {shape}; got {projection.shape}")

        def weight(name: str, shape: tuple[int, ...]) -> Any:
            return self.add_weight(shape=shape, initializer="ones", trainable=False, name=name)

        self.projection = weight("projection", shape)
        self.variances = weight("variances", (len(self.pairs),))
        self.sentence_variance = weight("sentence_variance", ())
        # What a checkpoint keeps beside the student: not the teacher.
        self.measured = [self.projection, self.variances, self.sentence_variance]
        if projection is not None:
            self.projection.assign(projection)
        self.built = True

    def measure(self, batches: Iterable[Mapping[str, Any]]) -> None:
        """Measure how much the teacher's vectors vary, so that the losses are relative to that.

        The scale is fixed once: by batch it would jump, for a batch of one long text has no variance at all.

        Args:
            batches: A few batches of `ShardBatches` with a teacher.
        """
        vectors: list[list[np.ndarray]] = [[] for _ in self.pairs]
        texts = []
        for batch in batches:
            words, there = self.targets(batch)
            present = ops.convert_to_numpy(there) > 0
            for gathered, wanted in zip(vectors, words, strict=True):
                gathered.append(ops.convert_to_numpy(wanted)[present])
            texts.append(ops.convert_to_numpy(_text_means(words[-1], there))[present.any(axis=1)])
        self.variances.assign([_variance(np.concatenate(gathered)) for gathered in vectors])
        self.sentence_variance.assign(_variance(np.concatenate(texts)))

    def teacher_states(self, batch: Mapping[str, Any]) -> list[Any]:
        """The outputs (B, T', D_teacher) of the teacher's matched blocks."""
        inputs = {name: batch[f"teacher_{name}"] for name in ("token_ids", "padding_mask", "segment_ids")}
        states = hidden_states(stack_of(self.teacher, self.config), inputs)
        return [states[block] for block, _ in self.pairs]

    def targets(self, batch: Mapping[str, Any]) -> tuple[list[Any], Any]:
        """For each matched block what the student should give, (B, W, D) float32; and (B, W), 1 where there is a word."""
        weights, there = word_weights(batch["teacher_words"], ops.shape(batch["words"])[1])
        words = []
        for hidden in self.teacher_states(batch):
            # The projection before the means: it halves the width that they run over.
            projected = ops.matmul(ops.reshape(hidden, (-1, hidden.shape[-1])), ops.cast(self.projection, hidden.dtype))
            projected = ops.reshape(projected, (*ops.shape(hidden)[:2], projected.shape[-1]))
            words.append(ops.stop_gradient(ops.matmul(weights, ops.cast(projected, "float32"))))
        return words, there

    def loss_terms(self, states: Sequence[Any], batch: Mapping[str, Any]) -> dict[str, Any]:
        """The terms, see the class.

        Args:
            states: (B, T, D) for each layer of the student.
            batch: A batch of `ShardBatches` with a teacher.
        """
        words, there = self.targets(batch)
        weights, _ = word_weights(batch["words"], ops.shape(batch["words"])[1])
        errors = []
        for i, wanted in enumerate(words):
            means = ops.matmul(weights, ops.cast(states[self.pairs[i][1]], "float32"))
            errors.append(_mean_square(means - wanted, there) / self.variances[i])
        real = ops.cast(ops.any(there > 0, axis=1), "float32")
        sentence = _mean_square(_text_means(means, there) - _text_means(wanted, there), real)
        inner = sum(errors[:-1]) / max(len(errors) - 1, 1)
        return {
            "inner": ops.convert_to_tensor(inner, "float32"),
            "word": errors[-1],
            "sentence": sentence / self.sentence_variance,
        }

    def fit_projection(self, student: keras.Model, batches: Iterable[Mapping[str, Any]]) -> None:
        """Take the projection that a student already has, see `fit_projection`.

        Args:
            student: Model from a batch to the outputs of the student's layers, such as a `Pretrainer`.
            batches: A few batches of `ShardBatches` with a teacher.
        """

        def word_vectors(hidden: Any, weights: Any, there: Any) -> np.ndarray:
            means = ops.convert_to_numpy(ops.matmul(weights, ops.cast(hidden, "float32")))
            return means[ops.convert_to_numpy(there) > 0]

        def pairs() -> Iterable[list[tuple[np.ndarray, np.ndarray]]]:
            for batch in batches:
                states, num_words = student(batch), batch["words"].shape[1]
                taught, own = (word_weights(batch[name], num_words) for name in ("teacher_words", "words"))
                yield [
                    (word_vectors(hidden, *taught), word_vectors(states[block], *own))
                    for hidden, (_, block) in zip(self.teacher_states(batch), self.pairs, strict=True)
                ]

        self.projection.assign(fit_projection(pairs()))


def fit_projection(pairs: Iterable[Sequence[tuple[np.ndarray, np.ndarray]]]) -> np.ndarray:
    """The (D_teacher, D) matrix with orthonormal columns that best turns a teacher's vectors into its student's.

    A student that is distilled further must aim at the same directions as before. This is an orthogonal Procrustes
    problem (Schoenemann 1966); as the matrix is narrower than the teacher no formula solves it, and each step here
    solves an upper bound that touches where it stands, and so never makes the fit worse.

    Args:
        pairs: For each of some batches, for each matched block: the teacher's vectors (W, D_teacher) and the
            student's (W, D) of the same words. The last block counts as much as it does in `shared_projection`.

    Example:
        >>> draw = np.random.default_rng(0)
        >>> projection = np.linalg.qr(draw.normal(size=(6, 3)))[0]
        >>> taught = draw.normal(size=(200, 6)) * [9, 5, 3, 2, 1, 1]
        >>> found = fit_projection([[(taught, taught @ projection)]])
        >>> bool(np.abs(found - projection).max() < 0.01)
        True
    """
    products, moments = {}, {}
    for blocks in pairs:
        for i, (taught, own) in enumerate(blocks):
            taught, own = taught.astype("float64"), own.astype("float64")
            products[i] = products.get(i, 0.0) + taught.T @ own
            moments[i] = moments.get(i, 0.0) + taught.T @ taught
    last = max(products)
    weights = {i: (LAST_OUTPUT_WEIGHT if i == last else 1.0) / np.trace(moments[i]) for i in moments}
    product = sum(weights[i] * products[i] for i in products)
    moment = sum(weights[i] * moments[i] for i in moments)
    ridge = RIDGE * np.trace(moment) / len(moment) * np.eye(len(moment))
    projection = _orthonormal(np.linalg.solve(moment + ridge, product))
    slack = np.linalg.eigvalsh(moment)[-1] * np.eye(len(moment)) - moment
    for _ in range(PROCRUSTES_STEPS):
        projection = _orthonormal(product + slack @ projection)
    return projection.astype("float32")


def _orthonormal(matrix: np.ndarray) -> np.ndarray:
    """The matrix with orthonormal columns that is nearest."""
    left, _, right = np.linalg.svd(matrix, full_matrices=False)
    return left @ right


def _mean_square(values: Any, weights: Any) -> Any:
    """The mean squared length of those vectors (..., D) whose weight (...) is 1."""
    return ops.sum(ops.square(values) * weights[..., None]) / ops.maximum(ops.sum(weights), 1.0)


def _text_means(means: Any, there: Any) -> Any:
    """(B, D): the mean over the words of each text, of (B, W, D) and (B, W)."""
    return ops.sum(means * there[..., None], axis=1) / ops.maximum(ops.sum(there, axis=1, keepdims=True), 1.0)


def _variance(vectors: np.ndarray) -> float:
    return max(float(np.square(vectors - vectors.mean(axis=0)).sum(axis=-1).mean()), 1e-6)
