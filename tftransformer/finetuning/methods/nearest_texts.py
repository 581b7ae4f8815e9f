"""k nearest texts: nothing is trained, and a text is labelled like those of the training rows that are most like it."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tftransformer.errors import TransformerError, check_whole
from tftransformer.finetuning.arguments import Model, check_number
from tftransformer.finetuning.methods.base import Number
from tftransformer.finetuning.methods.head_only import HeadOnly
from tftransformer.finetuning.solved_head import check_linear_head, forget_texts
from tftransformer.patterns import addresses

if TYPE_CHECKING:
    from tftransformer.models.task import Task

# What k is chosen from, and rows that are enough to choose by.
NEIGHBOURS = (1, 2, 4, 8, 16, 32, 64)
_CHOSEN_ON, _AT_A_TIME = 2000, 200
# Bytes of vectors beyond which a model is no place for them.
MOST_BYTES = 1 << 30


@dataclass(frozen=True)
class NearestTexts(HeadOnly):
    """The head keeps the vectors of all training texts, and the k most similar ones vote (Cover & Hart 1967; see `NeighbourVotes`).

    `fit` takes no updates: it runs the encoder once over the texts. The vectors are part of the model, so that saved
    folders and exports answer alike: N * (D + C) * 4 bytes for N texts, and a product of (B, D) and (D, N) for B texts
    to label. A probe is more accurate in general (docs/measurements.md, "Nearest texts"), so the recipe never chooses
    this. To train the model further takes a linear head: `probe`, `head_start` and `contrastive` put one in its place.

    Args:
        neighbours: k, how many texts vote; as many as there are, where there are fewer. None: chosen among 1, 2, 4, … 64 by
            the likelihood of each training text given the others, on 2,000 of them at most.
        temperature: The vote of a text weighs `exp(cosine / temperature)`; 0.07 is that of Wu et al. 2018 (arXiv:1805.01978).

    Raises:
        TransformerError: A number out of its range. On `apply`: as for `LinearProbe`. In `fit`: a dataset, or more than
            1 GiB of vectors; updates of a model with such a head.

    Example:
        >>> str(NearestTexts(8))
        'neighbours:8'
    """

    neighbours: int | None = None
    temperature: float = 0.07

    name = "neighbours"
    about = "the k nearest training texts vote; no updates"
    hooks = ("before_training",)
    number = Number("neighbours")
    inserted = (r"head/neighbours/.*",)
    of_head = True
    alone = True
    takes_updates = False

    def __post_init__(self) -> None:
        if self.neighbours is not None:
            check_whole("neighbours", self.neighbours, least=1)
        check_number("temperature", self.temperature, "above 0", lambda value: 0 < value < float("inf"))

    def check(self, model: Model) -> None:
        check_linear_head(model, self.name)

    def freezes(self, model: Model) -> list[str]:
        return [name for name in addresses(model) if any(re.fullmatch(pattern, name) for pattern in self.inserted)]

    def before_training(self, task: "Task", examples: Any, weights: Any, vectors: Callable[[], np.ndarray]) -> str:
        targets, classes = examples.targets.values, len(task.objective.labels)
        given = np.ones(len(targets)) if weights is None else np.asarray(weights, "float64")
        # A row of weight 0 is no neighbour.
        kept = np.flatnonzero(given > 0)
        numbers = task.config.hidden_dim + classes
        if len(kept) * numbers * 4 > MOST_BYTES:
            raise TransformerError(
                f"{self.name} keeps the vectors of all training texts, of {MOST_BYTES >> 30} GiB at most; got {len(kept):,} texts "
                f"of {numbers} numbers"
            )
        forget_texts(task)
        found = np.asarray(vectors(), "float32")[kept]
        found /= np.maximum(np.linalg.norm(found, axis=-1, keepdims=True), 1e-12)
        votes = targets[kept] if targets.ndim == 2 else np.eye(classes)[targets[kept]]
        log_weights = np.log(given[kept])
        settings = {"rows": len(kept), "temperature": self.temperature, "multi_label": targets.ndim == 2}
        k = min(self.neighbours or self._choose(found, votes, log_weights, settings, task.seed), len(kept))
        _keep(task, {**settings, "neighbours": k}, (found.T, votes, log_weights))
        return f"the {k} nearest of {len(kept):,} texts vote"

    def _choose(
        self, vectors: np.ndarray, votes: np.ndarray, log_weights: np.ndarray, settings: Mapping, seed: int
    ) -> int:
        """The number of neighbours at which each text's labels are likeliest by the other texts."""
        from tftransformer.layers.neighbours import NeighbourVotes

        asked = np.random.default_rng(seed).permutation(len(vectors))[:_CHOSEN_ON]
        found = [_nearest(vectors, asked[start : start + _AT_A_TIME]) for start in range(0, len(asked), _AT_A_TIME)]
        order, cosines = (np.concatenate(parts) for parts in zip(*found))
        nearest = cosines / self.temperature + log_weights[order]
        best, chosen = -np.inf, 1
        for k in NEIGHBOURS:
            if k >= len(vectors):
                break
            shares = np.exp(nearest[:, :k] - nearest[:, :k].max(-1, keepdims=True))
            shares /= shares.sum(-1, keepdims=True)
            voted = np.einsum("bk,bkc->bc", shares, votes[order[:, :k]])
            several = settings["multi_label"]
            smoothing = NeighbourVotes.smoothing
            voted = (1 - smoothing) * voted + smoothing / (2 if several else votes.shape[-1])
            right = np.where(votes[asked] > 0, voted, 1 - voted if several else 1.0)
            likelihood = float(np.log(right).sum())
            if likelihood > best:
                best, chosen = likelihood, k
        return chosen

    @classmethod
    def modifications(cls, model: Model) -> list[dict[str, Any]]:
        votes = getattr(getattr(model, "head", None), "neighbours", None)
        return [] if votes is None else [{"kind": cls.name, **votes.settings()}]

    @classmethod
    def restore(cls, model: Model, modification: Mapping[str, Any]) -> None:
        from tftransformer.layers.heads import ClassificationHead

        # A task with a head of another kind takes the encoder alone.
        if isinstance(getattr(model, "head", None), ClassificationHead):
            _keep(model, {key: value for key, value in modification.items() if key != "kind"})


def _nearest(vectors: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the other rows nearest to some of the rows, nearest first, and their cosines: as many as might vote."""
    cosines = vectors[rows] @ vectors.T
    cosines[np.arange(len(rows)), rows] = -np.inf
    count = min(max(NEIGHBOURS), len(vectors) - 1)
    order = np.argpartition(-cosines, max(count - 1, 0), axis=-1)[:, :count]
    values = np.take_along_axis(cosines, order, axis=-1)
    ranks = np.argsort(-values, axis=-1, kind="stable")
    return np.take_along_axis(order, ranks, axis=-1), np.take_along_axis(values, ranks, axis=-1)


def _keep(task: Any, settings: Mapping[str, Any], values: tuple = ()) -> None:
    """Put the votes into a task's head, with their weights where they are known."""
    from tftransformer.finetuning.tracing import model_changed
    from tftransformer.layers.neighbours import NeighbourVotes
    from tftransformer.layers.slots import attach

    with task.distribute_strategy.scope():
        votes = NeighbourVotes(task.head.num_classes, **settings, dtype="float32", name=NearestTexts.name)
        attach(task.head, "neighbours", votes, (None, task.config.hidden_dim))
    for variable, value in zip((votes.vectors, votes.votes, votes.log_weights), values):
        variable.assign(value)
    model_changed(task)
