"""A head that answers by the nearest of the texts it was given."""

from typing import Any

import keras
from keras import ops

from tftransformer.layers.configured import ConfiguredLayer


@keras.saving.register_keras_serializable(package="tftransformer")
class NeighbourVotes(ConfiguredLayer):
    """Logits by a vote of the k nearest of N stored vectors, by their cosine to the given one; of equally near ones the first.

    A neighbour's vote weighs `exp(cosine / temperature)`, times the weight of its text (Wu et al. 2018, arXiv:1805.01978,
    who have a temperature of 0.07).

    Args:
        num_classes: C.
        rows: N, the number of stored vectors.
        neighbours: k, how many of them vote.
        temperature: Temperature of the votes' weights.
        multi_label: Whether a label has a yes and a no of its own.

    Attributes:
        vectors: (D, N), each of length 1; as the product with them is fastest.
        votes: (N, C), 1 at the labels of each text.
        log_weights: (N,) logarithms of the texts' weights.
        divisor: (1,) what logits are divided by: 1, or the product of the temperatures of all calibrations.

    Shapes: (B, D) -> (B, C).

    Example:
        >>> layer = NeighbourVotes(2, rows=3, neighbours=1)
        >>> layer.build((None, 2))
        >>> _ = layer.vectors.assign([[1.0, 0.0, -1.0], [0.0, 1.0, 0.0]])
        >>> _ = layer.votes.assign([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
        >>> [int(label) for label in keras.ops.argmax(layer(keras.ops.array([[2.0, 0.1], [0.1, 2.0]])), axis=-1)]
        [0, 1]
    """

    arguments = ("num_classes", "rows", "neighbours", "temperature", "multi_label")

    # Part of the votes that is divided among all labels, so that one without a neighbour is unlikely, not impossible.
    smoothing = 0.01

    def __init__(
        self,
        num_classes: int,
        rows: int,
        neighbours: int = 8,
        temperature: float = 0.07,
        multi_label: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.num_classes = num_classes
        self.rows = rows
        self.neighbours = neighbours
        self.temperature = temperature
        self.multi_label = multi_label

    def build(self, x_shape: tuple) -> None:
        def stored(name: str, shape: tuple, initializer: str = "zeros") -> Any:
            return self.add_weight(
                name=name, shape=shape, initializer=initializer, dtype="float32", trainable=False, autocast=False
            )

        self.vectors = stored("vectors", (x_shape[-1], self.rows))
        self.votes = stored("votes", (self.rows, self.num_classes))
        self.log_weights = stored("log_weights", (self.rows,))
        self.divisor = stored("divisor", (1,), "ones")

    def call(self, x: Any) -> Any:
        cosines = ops.matmul(ops.normalize(ops.cast(x, "float32"), axis=-1), self.vectors)
        nearest, places = ops.top_k(cosines, self.neighbours)
        weights = ops.softmax(nearest / self.temperature + ops.take(self.log_weights, places), axis=-1)
        shares = ops.sum(weights[..., None] * ops.take(self.votes, places, axis=0), axis=1)
        classes = 2 if self.multi_label else self.num_classes
        shares = (1.0 - self.smoothing) * shares + self.smoothing / classes
        logits = ops.log(shares) - ops.log1p(-shares) if self.multi_label else ops.log(shares)
        return logits / self.divisor

    def settings(self) -> dict[str, Any]:
        """Return the constructor's arguments except `num_classes` and those of every layer, as JSON values."""
        return {name: getattr(self, name) for name in self.arguments if name != "num_classes"}

    def compute_output_shape(self, x_shape: tuple) -> tuple:
        return (x_shape[0], self.num_classes)
