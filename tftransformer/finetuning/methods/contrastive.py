"""Contrastive fine-tuning for few labelled texts: first the encoder learns which belong together, then the head is solved for.

Tunstall et al. 2022, "Efficient Few-Shot Learning Without Prompts" (SetFit, arXiv:2209.11055).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tftransformer.errors import TransformerError, check_whole
from tftransformer.finetuning.arguments import Model, check_number
from tftransformer.finetuning.methods.base import Method, Number
from tftransformer.finetuning.solved_head import check_linear_head, solve_head

if TYPE_CHECKING:
    from tftransformer.models.task import Task

# The rate, as a fraction of that of fine-tuning. SST-2, 50 rows, MiniLM, three seeds: .725 at 2e-5 in 50 updates, .745 at
# 5e-5 in 150.
_FRACTION = 0.5
# Held-out rows cannot choose it any more: the encoder has been shown the labels of all of them.
_STRENGTH = 10.0


@dataclass(frozen=True)
class Contrastive(Method):
    """Pull texts of one label together and push others apart, then fit a logistic regression on the vectors.

    `fit` does both first, and then takes no updates. The loss of a batch is the mean of (1 - cosine)² over its pairs of
    one label and of max(0, cosine)² over the others. SetFit draws pairs and runs two texts for each; here all pairs of
    a batch count, 120 of 16 texts, each by the product of its texts' weights. With several labels a text, the 1 becomes
    the fraction of their labels that two texts share. Other methods choose which weights of the encoder train:
    "freeze:3+contrastive".

    Args:
        updates: Number of updates of the encoder.
        batch_size: Texts a batch, of half as many labels where there are so many.
        encoder_rate: The highest learning rate; it rises over a tenth of the updates and falls to 0. None: half of what the
            encoder is fine-tuned at, 5e-5 below width 512 and 1e-5 above (the paper has 2e-5 for every width).
        strength: Inverse strength of the regression's penalty, for vectors of length 1.

    Raises:
        TransformerError: A number out of its range. On `apply`: as for `LinearProbe`, or texts are cut into chunks. In
            `fit`: a dataset, or rows with all the same labels.

    Example:
        >>> str(Contrastive(updates=200))
        'contrastive:200'
    """

    updates: int = 150
    batch_size: int = 16
    encoder_rate: float | None = None
    strength: float = _STRENGTH

    name = "contrastive"
    about = "the encoder learns which texts have one label, then the head is solved for"
    hooks = ("before_training",)
    number = Number("updates")
    once = True
    takes_updates = False

    def __post_init__(self) -> None:
        check_whole("updates", self.updates)
        check_whole("batch_size", self.batch_size, least=2)
        if self.encoder_rate is not None:
            check_number("encoder_rate", self.encoder_rate, "above 0 and at most 1", lambda rate: 0 < rate <= 1)
        check_number("strength", self.strength, "above 0", lambda value: value > 0)

    def check(self, model: Model) -> None:
        check_linear_head(model, self.name)
        if model.in_chunks:
            raise TransformerError(
                f"{self.name} is for texts that are one row; a {type(model).__name__} cuts them into chunks"
            )

    def places(self, model: Model) -> set[str]:
        return {"head"}

    def before_training(self, task: "Task", examples: Any, weights: Any, vectors: Callable[[], np.ndarray]) -> str:
        loss = _train_pairs(task, examples, weights, self)
        solved = solve_head(task, vectors(), examples.targets.values, weights, self.strength)
        return f"contrastive: {self.updates} updates, loss {loss:.3f} at the end; {solved}"


def _train_pairs(task: "Task", examples: Any, weights: Any, method: Contrastive) -> float:
    import keras

    from tftransformer.finetuning.optimizers import build_optimizer
    from tftransformer.progress import Progress

    if len(np.unique(examples.targets.values, axis=0)) < 2:
        raise TransformerError("contrastive needs rows of two labels at least; all rows have the same")

    class Vectors(keras.Model):
        """Model that returns the vectors that the head sees; the head itself does not train."""

        def __init__(self) -> None:
            super().__init__(name="vectors", dtype=task.dtype_policy)
            self.task = task
            self.built = True

        def call(self, inputs: Any, training: bool | None = None) -> Any:
            return self.task.pooled(inputs, training)

    trained = task.head.trainable
    task.head.trainable = False
    try:
        with task.distribute_strategy.scope():
            model = Vectors()
            rate = (
                _FRACTION * task.recommended_hparams["learning_rate"]
                if method.encoder_rate is None
                else method.encoder_rate
            )
            optimizer = build_optimizer(rate, total_steps=method.updates, fresh=())
            model.compile(optimizer, _weighted_pair_loss, jit_compile=task.jit_compile)
        weights = np.ones(len(examples)) if weights is None else weights
        # Keras's sample_weight has no meaning for a loss of pairs.
        weighted = np.column_stack([weights, examples.targets.values]).astype("float32")
        draw, logs = np.random.default_rng(task.seed), {}
        with Progress(method.updates, "contrastive, updates") as bar:
            for rows in pair_batches(examples.targets.values, method.batch_size, method.updates, draw):
                inputs = examples.features(rows, int(examples.lengths[rows].max()))
                logs = model.train_on_batch(inputs, weighted[rows], return_dict=True)
                bar.update(note=f"loss {logs['loss']:.3f}")
        return float(logs["loss"])
    finally:
        task.head.trainable = trained


def pair_batches(targets: np.ndarray, batch_size: int, count: int, draw: np.random.Generator) -> Any:
    """Rows of batches, each with at least two rows of each of its labels where the label has two.

    Args:
        targets: (B,) ids, or (B, C) zeros and ones, of which equal rows are a label here.
        batch_size: Rows a batch.
        count: How many batches.
        draw: Draws labels and rows.

    Yields:
        (batch_size,) rows, from 0; a label with too few rows gives some of them again.
    """
    kinds = np.unique(targets, axis=0, return_inverse=True)[1].reshape(-1)
    by_label = [np.flatnonzero(kinds == kind) for kind in range(kinds.max() + 1)]
    labels = min(len(by_label), max(2, batch_size // 2))
    for _ in range(count):
        chosen = draw.permutation(len(by_label))[:labels]
        sizes = [len(part) for part in np.array_split(np.arange(batch_size), labels)]
        yield np.concatenate(
            [
                draw.choice(by_label[label], size, replace=len(by_label[label]) < size)
                for label, size in zip(chosen, sizes, strict=True)
            ]
        )


def _weighted_pair_loss(weighted: Any, vectors: Any) -> Any:
    """`pair_loss` of targets with a column of weights before them, (B, 1 + C)."""
    return pair_loss(weighted[:, 1:], vectors, weighted[:, 0])


def pair_loss(targets: Any, vectors: Any, weights: Any = None) -> Any:
    """Compute how far apart texts of one label are, and how near those of others: see `Contrastive`.

    Args:
        targets: (B,) or (B, 1) ids, or (B, C) zeros and ones.
        vectors: (B, D).
        weights: (B,) weights of the texts; None for 1.

    Returns:
        A float32 scalar, at least 0.

    Example:
        >>> import keras
        >>> float(pair_loss(np.array([0, 0, 1]), keras.ops.array([[1.0, 0.0], [2.0, 0.0], [0.0, 1.0]])))
        0.0
    """
    from keras import ops

    vectors = ops.normalize(ops.cast(vectors, "float32"), axis=-1)
    cosines = ops.matmul(vectors, ops.transpose(vectors))
    shared = _shared_labels(targets)
    pairs = 1.0 if weights is None else ops.cast(weights[:, None] * weights[None, :], "float32")
    alike = ops.cast(shared > 0, "float32") * (1.0 - ops.eye(ops.shape(shared)[0])) * pairs
    apart = ops.cast(shared == 0, "float32") * pairs
    # The least weight only keeps a batch without such pairs from dividing by 0.
    near_loss = ops.sum(alike * ops.square(shared - cosines)) / ops.maximum(ops.sum(alike), 1e-12)
    apart_loss = ops.sum(apart * ops.square(ops.relu(cosines))) / ops.maximum(ops.sum(apart), 1e-12)
    return near_loss + apart_loss


def _shared_labels(targets: Any) -> Any:
    """(B, B) from 0 to 1: the labels that two texts both have, as a fraction of those that one of them has."""
    from keras import ops

    if len(targets.shape) == 1 or targets.shape[-1] == 1:
        ids = ops.reshape(targets, (-1,))
        return ops.cast(ids[:, None] == ids[None, :], "float32")
    labels = ops.cast(targets, "float32")
    both = ops.matmul(labels, ops.transpose(labels))
    counts = ops.sum(labels, axis=-1)
    either = counts[:, None] + counts[None, :] - both
    # Two texts without any label have all of theirs in common.
    return ops.where(either > 0, both / ops.maximum(either, 1.0), 1.0)
