"""Batches of examples for `fit`, changed copies of their texts among them."""

from typing import TYPE_CHECKING

import keras
import numpy as np
import tensorflow as tf

from tftransformer.data.augmentation.pipeline import Augmentation
from tftransformer.data.augmentation.sources import EmbeddingNeighbours, encoder_neighbours
from tftransformer.data.augmented_batches import augmented_batches
from tftransformer.data.examples import Examples
from tftransformer.data.pipeline import Epoch, token_batches
from tftransformer.errors import TransformerError

if TYPE_CHECKING:
    from tftransformer.models.task import Task


def training_batches(
    task: "Task",
    examples: Examples,
    batch_size: int,
    shuffle: bool,
    epoch: Epoch,
    augmentation: Augmentation | None = None,
) -> tf.data.Dataset:
    """Batches for `fit`.

    Args:
        task: A `Task`.
        examples: Training examples.
        batch_size: Rows a batch.
        shuffle: A new order in each epoch, by the task's seed.
        epoch: Keeps the number of the epoch.
        augmentation: Changes of the texts; None leaves them as they are.

    Returns:
        As `token_batches`.

    Raises:
        TransformerError: The augmentation does not go with the texts.
    """
    settings = {
        "boundaries": task.boundaries(examples), "shuffle": shuffle, "seed": task.seed, "epoch": epoch
    }  # fmt: skip
    if augmentation is None:
        return token_batches(examples, batch_size, **settings)
    if examples.all_texts is None:
        raise TransformerError(
            f"augmentation is for texts with a target of their own; those of a {type(task).__name__} are of tokens"
        )
    texts = examples.texts()

    def neighbours() -> EmbeddingNeighbours:
        table = keras.ops.convert_to_numpy(task.encoder.get_layer("embeddings").token.embeddings)
        return encoder_neighbours(task.tokenizer.spec(), np.asarray(table, "float32"))

    augmentation.prepare(texts, neighbours)
    return augmented_batches(
        augmentation,
        texts,
        examples,
        batch_size,
        tokenize=task.tokenizer.tokenize,
        pack=task.preprocessor.pack,
        **settings,
    )
