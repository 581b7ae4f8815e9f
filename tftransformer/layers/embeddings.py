"""Token, position and segment embeddings, summed as BERT sums them, with a tied output."""

from typing import Any

import keras
from keras import ops

from tftransformer.errors import TransformerError
from tftransformer.layers.dropout import Dropout
from tftransformer.layers.norms import make_norm
from tftransformer.layers.positions import LearnedPosition, SinusoidalPosition
from tftransformer.layers.projection import Projection
from tftransformer.layers.slots import SlottedLayer

SINUSOIDAL = ("sinusoidal", "sinusoidal_halves")


@keras.saving.register_keras_serializable(package="tftransformer")
class TokenEmbedding(keras.layers.Embedding):
    """A table of token vectors that also gives logits over its rows (tied output, Press & Wolf 2017).

    Args:
        vocabulary_size: V, number of rows of the table.
        hidden_dim: D, width of a row.
        initializer: Initializer of the table; a truncated normal distribution of deviation 0.02 by default.

    Shapes: ids (B, T) -> (B, T, D); `logits`: (..., D) -> (..., V).

    Example:
        >>> layer = TokenEmbedding(100, 16)
        >>> hidden = layer(keras.ops.ones((2, 3), "int32"))
        >>> layer.logits(hidden).shape
        TensorShape([2, 3, 100])
    """

    def __init__(self, vocabulary_size: int, hidden_dim: int, initializer: Any = None, **kwargs: Any) -> None:
        initializer = initializer or keras.initializers.TruncatedNormal(stddev=0.02)
        super().__init__(vocabulary_size, hidden_dim, embeddings_initializer=initializer, **kwargs)

    def logits(self, hidden: Any) -> Any:
        """Product of every hidden vector with every row of the table."""
        hidden = ops.convert_to_tensor(hidden)
        table = ops.cast(self.embeddings, hidden.dtype)
        leading = ops.shape(hidden)[:-1]
        flat = ops.matmul(ops.reshape(hidden, (-1, self.output_dim)), ops.transpose(table))
        return ops.reshape(flat, (*leading, self.input_dim))

    def get_config(self) -> dict:
        config = super().get_config()
        renamed = ("input_dim", "output_dim", "embeddings_initializer")
        return {
            **{name: value for name, value in config.items() if name not in renamed},
            "vocabulary_size": self.input_dim,
            "hidden_dim": self.output_dim,
            "initializer": keras.initializers.serialize(self.embeddings_initializer),
        }


@keras.saving.register_keras_serializable(package="tftransformer")
class TransformerEmbedding(SlottedLayer):
    """Token plus position plus segment embeddings, then a layer norm, dropout and, factorised, a projection.

    While frozen (`trainable = False`) it runs without dropout, also in `fit`.

    Args:
        vocabulary_size: V. None: no token table; the layer is called on the vectors that another one's `lookup` gives.
        hidden_dim: D.
        sequence_length: Longest input of learned positions.
        position: "learned", "sinusoidal", "sinusoidal_halves", or "none" where positions enter in the attention.
        num_segments: Number of rows of the segment table; 0 for none.
        embedding_dim: Width E of the tables and the norm; a projection to D follows (Lan et al. 2019, arXiv
            1909.11942). None: D, without a projection.
        skipped_rows: Number of rows at the start of the position table that belong to no position.
        norm: Kind of norm on the sum, "layer" or "rms". None: no norm.
        scale: Whether to multiply the token vectors by sqrt(D), as Vaswani et al. do.
        dropout: Dropout rate (0 to 1).
        layer_norm_epsilon: Constant added to the variance.

    Call arguments:
        token_ids: Integers (B, T); without a table vectors (B, T, E). With `reverse`: hidden vectors (B, T, E).
        segment_ids: Integers (B, T). None: segment 0 everywhere.
        offset: Position of the first token: the number of tokens already in a cache.
        position_ids: Position (B, T) of each token, for rows that hold several texts.
        reverse: Whether to return the logits of hidden vectors over the token table instead (a tied output head).
        lookup: Whether to return the rows of the token table alone, for a layer without one.

    Raises:
        TransformerError: The position is none of these.

    Returns: (B, T, D); with `reverse` (B, T, V), with `lookup` (B, T, E).

    Example:
        >>> layer = TransformerEmbedding(100, 16, sequence_length=32, num_segments=2)
        >>> layer(keras.ops.ones((2, 3), "int32")).shape
        TensorShape([2, 3, 16])
    """

    arguments = (
        "hidden_dim", "embedding_dim", "skipped_rows", "sequence_length", "num_segments", "scale", "layer_norm_epsilon",
    )  # fmt: skip

    def __init__(
        self,
        vocabulary_size: int | None,
        hidden_dim: int,
        sequence_length: int = 512,
        position: str = "learned",
        num_segments: int = 0,
        norm: str | None = "layer",
        scale: bool = False,
        dropout: float = 0.0,
        layer_norm_epsilon: float = 1e-12,
        embedding_dim: int | None = None,
        skipped_rows: int = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.sequence_length = sequence_length
        self.num_segments = num_segments
        self.scale = scale
        self.dropout_rate = dropout
        self.layer_norm_epsilon = layer_norm_epsilon
        policy = self.dtype_policy
        self.hidden_dim = hidden_dim
        self.embedding_dim = embedding_dim
        self.skipped_rows = skipped_rows
        width = hidden_dim if embedding_dim is None else embedding_dim
        self.width = width
        self.token: Any = None
        if vocabulary_size is not None:
            self.token = TokenEmbedding(vocabulary_size, width, dtype=policy, name="token")
        if position not in ("learned", *SINUSOIDAL, "none"):
            raise TransformerError(
                f"position must be 'learned', 'sinusoidal', 'sinusoidal_halves' or 'none', which leaves it to the "
                f"attention; got {position!r}"
            )
        self.position_kind = position
        self.position = None
        if position == "learned":
            self.position = LearnedPosition(sequence_length, skipped_rows, dtype=policy, name="position")
        elif position in SINUSOIDAL:
            interleaved = position == "sinusoidal"
            self.position = SinusoidalPosition(interleaved=interleaved, dtype=policy, name="position")
        self.segment = TokenEmbedding(num_segments, width, dtype=policy, name="segment") if num_segments else None
        self.norm_kind = norm
        self.norm = make_norm(norm, epsilon=layer_norm_epsilon, dtype=policy, name="norm") if norm else None
        self.dropout = Dropout(dropout, dtype=policy, name="dropout")
        self.projection = None
        if embedding_dim is not None:
            initializer = keras.initializers.TruncatedNormal(stddev=0.02)
            self.projection = Projection(hidden_dim, kernel_initializer=initializer, dtype=policy, name="projection")

    def build(self, token_ids_shape: tuple, **_: Any) -> None:
        hidden_shape = (*token_ids_shape[:2], self.width)
        if self.token is not None:
            self.token.build(token_ids_shape)
        for layer in (self.position, self.norm, self.projection):
            if layer is not None:
                layer.build(hidden_shape)
        if self.segment is not None:
            self.segment.build(token_ids_shape[:2])

    def call(
        self,
        token_ids: Any,
        segment_ids: Any = None,
        offset: Any = 0,
        position_ids: Any = None,
        reverse: bool = False,
        lookup: bool = False,
        training: bool | None = None,
    ) -> Any:
        if reverse:
            return self.token.logits(token_ids)
        x = token_ids if self.token is None else self.token(token_ids)
        if lookup:
            return x
        if self.scale:
            x = x * ops.cast(self.width**0.5, x.dtype)
        if self.segment is not None:
            x = x + (self.segment(segment_ids) if segment_ids is not None else self.segment.embeddings[0])
        if self.position is not None:
            x = self.position(x, offset=offset, position_ids=position_ids)
        if self.norm is not None:
            x = self.norm(x)
        x = self.dropout(x, training=bool(training) and self.trainable)
        return x if self.projection is None else self.projection(x)

    def compute_output_spec(
        self, token_ids: Any, *_: Any, reverse: bool = False, lookup: bool = False, **__: Any
    ) -> Any:
        width = self.width if lookup else self.hidden_dim
        shape = (*token_ids.shape[:2], self.token.input_dim if reverse else width)
        return keras.KerasTensor(shape, dtype=self.compute_dtype)

    def get_config(self) -> dict:
        return {
            **super().get_config(),
            "vocabulary_size": None if self.token is None else self.token.input_dim,
            "position": self.position_kind,
            "norm": self.norm_kind,
            "dropout": self.dropout_rate,
        }
