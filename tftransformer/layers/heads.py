"""Output heads: from a pooled vector to logits, of one task or of several, and a bias on the logits of tokens."""

from collections.abc import Mapping
from typing import Any

import keras
from keras import ops

from tftransformer.errors import TransformerError
from tftransformer.layers.dropout import Dropout
from tftransformer.layers.projection import Projection, initializer_or_normal
from tftransformer.layers.slots import SlottedLayer


@keras.saving.register_keras_serializable(package="tftransformer")
class ClassificationHead(SlottedLayer):
    """Dropout, then one dense layer to a logit for each class.

    Logits are float32 under every dtype policy, so that the loss is.

    Args:
        num_classes: C.
        dropout: Dropout rate on the pooled vector (0 to 1); 0.1 as in BERT's fine-tuning.
        kernel_initializer: Initializer of the kernel; a truncated normal distribution of deviation 0.02 by default.

    Shapes: (B, D) -> (B, C).

    Example:
        >>> ClassificationHead(3)(keras.ops.ones((2, 16))).shape
        TensorShape([2, 3])
    """

    arguments = ("num_classes", "kernel_initializer")

    def __init__(self, num_classes: int, dropout: float = 0.1, kernel_initializer: Any = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.num_classes = num_classes
        self.dropout_rate = dropout
        self.kernel_initializer = initializer_or_normal(kernel_initializer)
        self.dropout = Dropout(dropout, dtype=self.dtype_policy, name="dropout")
        self.logits = Projection(
            num_classes, kernel_initializer=self.kernel_initializer, dtype="float32", name="logits"
        )

    def build(self, x_shape: tuple) -> None:
        self.logits.build(x_shape)

    def call(self, x: Any, training: bool | None = None) -> Any:
        return self.logits(self.dropout(x, training=bool(training) and self.trainable))

    def divide(self, temperature: float) -> None:
        """Divide all logits by a temperature from now on, by its weights; a change that was put into them has to be merged."""
        if self.logits.delta is not None:
            raise TransformerError("the head holds a change that is not merged: tt.merge puts it into the weights")
        weights = [weight for weight in (self.logits.kernel, self.logits.bias) if weight is not None]
        for weight in weights:
            weight.assign(weight / temperature)

    def compute_output_spec(self, x: Any, **_: Any) -> Any:
        return keras.KerasTensor((x.shape[0], self.num_classes), dtype="float32")

    def get_config(self) -> dict:
        return {**super().get_config(), "dropout": self.dropout_rate}


@keras.saving.register_keras_serializable(package="tftransformer")
class TaskHeads(SlottedLayer):
    """A `ClassificationHead` for each task; the logits of all of them stand side by side.

    Every head runs for every text: next to an encoder they cost nothing, and the graph is the same whatever task
    a batch belongs to. A loss that looks at the columns of one task gives the other heads a gradient of zero.

    Args:
        num_classes: Mapping from the name of a task to its C, in the order of the columns. The names are part of the
            addresses of weights, as in `head/sst2/logits/kernel`.
        dropout: Dropout rate on the pooled vector (0 to 1).

    Shapes: (B, D) -> (B, sum of all C).

    Example:
        >>> heads = TaskHeads({"sentiment": 2, "topic": 4})
        >>> heads(keras.ops.ones((3, 16))).shape
        TensorShape([3, 6])
    """

    def __init__(self, num_classes: Mapping[str, int], dropout: float = 0.1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.num_classes = dict(num_classes)
        self.dropout_rate = dropout
        self.heads = [
            ClassificationHead(count, dropout, dtype=self.dtype_policy, name=task)
            for task, count in num_classes.items()
        ]

    def build(self, x_shape: tuple) -> None:
        for head in self.heads:
            head.build(x_shape)

    def call(self, x: Any, training: bool | None = None) -> Any:
        training = bool(training) and self.trainable
        return ops.concatenate([head(x, training=training) for head in self.heads], axis=-1)

    def compute_output_spec(self, x: Any, **_: Any) -> Any:
        return keras.KerasTensor((x.shape[0], sum(self.num_classes.values())), dtype="float32")

    def get_config(self) -> dict:
        return {**super().get_config(), "num_classes": dict(self.num_classes), "dropout": self.dropout_rate}


@keras.saving.register_keras_serializable(package="tftransformer")
class LogitsBias(SlottedLayer):
    """Adds a learned number to the logit of each token, as in BART and Marian.

    Shapes: (..., V) -> (..., V).

    Example:
        >>> LogitsBias()(keras.ops.ones((2, 3, 50))).shape
        TensorShape([2, 3, 50])
    """

    def build(self, x_shape: tuple) -> None:
        self.bias = self.add_weight(name="bias", shape=(x_shape[-1],), initializer="zeros")

    def call(self, x: Any) -> Any:
        return x + ops.cast(self.bias, x.dtype)

    def compute_output_shape(self, x_shape: tuple) -> tuple:
        return x_shape
