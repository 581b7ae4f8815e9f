"""One vector from several by attention with a learned query: words to a sentence, chunks to a document.

Yang et al. 2016, "Hierarchical Attention Networks for Document Classification" (aclanthology.org/N16-1174).
"""

from typing import Any

import keras
from keras import ops

from tftransformer.errors import check_whole
from tftransformer.layers.masking import merge_padding
from tftransformer.layers.projection import Projection, initializer_or_normal
from tftransformer.layers.slots import SlottedLayer


def attend(x: Any, scores: Any, padding_mask: Any = None) -> tuple[Any, Any]:
    """The mean of vectors, weighted by the softmax of their scores.

    Args:
        x: Vectors (B, S, D).
        scores: Scores (B, S).
        padding_mask: Mask (B, S), 1 at what takes part. None: all does.

    Returns:
        The mean (B, D) in x's dtype, zeros where nothing takes part; and the weights, (B, S) float32.

    Example:
        >>> mean, weights = attend(keras.ops.ones((1, 2, 4)), keras.ops.zeros((1, 2)), [[1, 0]])
        >>> weights.numpy().tolist()
        [[1.0, 0.0]]
    """
    scores = ops.cast(scores, "float32")
    real = ops.ones_like(scores, "bool") if padding_mask is None else ops.cast(padding_mask, "bool")
    scores = ops.where(real, scores, -1e9)
    weights = ops.exp(scores - ops.max(scores, axis=-1, keepdims=True)) * ops.cast(real, "float32")
    # The largest is 1, so that the sum is at least 1, unless nothing takes part.
    weights = weights / ops.maximum(ops.sum(weights, axis=-1, keepdims=True), 1.0)
    mean = ops.sum(ops.cast(x, "float32") * ops.expand_dims(weights, -1), axis=1)
    return ops.cast(mean, x.dtype), weights


@keras.saving.register_keras_serializable(package="tftransformer")
class AttentionPooling(SlottedLayer):
    """Attention with a query of its own: softmax(tanh(W x + b) · query) says how much each vector counts.

    A single vector comes out as it went in, and the order of the vectors means nothing.

    Args:
        attention_dim: Width of W's output and of the query. None: D.
        kernel_initializer: Initializer of W and the query; a truncated normal distribution of deviation 0.02 by
            default, which starts near the plain mean.

    Raises:
        TransformerError: `attention_dim` is no positive integer.

    Call arguments:
        x: Tensor (B, S, D).
        padding_mask: Mask (B, S), 1 at real vectors. A Keras mask on `x` is merged in.
        return_attention_scores: Whether to return the (B, S) weights, float32, too.

    Shapes: (B, S, D) -> (B, D), or a pair of it and (B, S).

    Example:
        >>> AttentionPooling()(keras.ops.ones((2, 3, 16)), padding_mask=[[1, 1, 0], [1, 0, 0]]).shape
        TensorShape([2, 16])
    """

    arguments = ("attention_dim", "kernel_initializer")

    def __init__(self, attention_dim: int | None = None, kernel_initializer: Any = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if attention_dim is not None:
            check_whole("attention_dim", attention_dim)
        self.attention_dim = attention_dim
        self.kernel_initializer = initializer_or_normal(kernel_initializer)

    def build(self, x_shape: tuple, **_: Any) -> None:
        width = self.attention_dim or x_shape[-1]
        self.projection = Projection(
            width, kernel_initializer=self.kernel_initializer, dtype=self.dtype_policy, name="projection"
        )
        self.projection.build(x_shape)
        self.query = self.add_weight(name="query", shape=(width,), initializer=self.kernel_initializer.clone())

    def compute_mask(self, x: Any, previous_mask: Any = None) -> None:
        return None  # the mask ends here: there are no more positions

    def call(
        self,
        x: Any,
        padding_mask: Any = None,
        return_attention_scores: bool = False,
        x_mask: Any = None,
        mask: Any = None,
    ) -> Any:
        seen = ops.cast(ops.tanh(self.projection(x)), "float32")
        scores = ops.sum(seen * ops.cast(self.query, "float32"), axis=-1)
        mean, weights = attend(x, scores, merge_padding(padding_mask, merge_padding(mask, x_mask)))
        return (mean, weights) if return_attention_scores else mean

    def compute_output_spec(
        self, x: Any, padding_mask: Any = None, return_attention_scores: bool = False, **_: Any
    ) -> Any:
        mean = keras.KerasTensor((x.shape[0], x.shape[-1]), dtype=self.compute_dtype)
        weights = keras.KerasTensor(x.shape[:2], dtype="float32")
        return (mean, weights) if return_attention_scores else mean
