"""The batches that a task trains on: its texts as they are, or with changed copies that each epoch draws anew."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tftransformer.data.augmentation.pipeline import Augmentation
from tftransformer.data.augmentation.sources import EmbeddingNeighbours, encoder_neighbours
from tftransformer.data.augmented_batches import augmented_batches
from tftransformer.data.examples import Examples
from tftransformer.data.packed_batches import packed_batches
from tftransformer.data.pipeline import Epoch, token_batches
from tftransformer.data.records import as_records
from tftransformer.errors import TransformerError
from tftransformer.finetuning.prefix_cache import PrefixCache
from tftransformer.finetuning.prefix_states import StoredStates


def training_batches(
    task: Any,
    examples: Examples,
    batch_size: int,
    shuffle: bool,
    epoch: Epoch,
    augmentation: Augmentation | None = None,
    texts: Any = None,
) -> tf.data.Dataset:
    """Batches for `fit`.

    Args:
        task: A `TextTask`.
        examples: To train on.
        batch_size: Rows a batch.
        shuffle: A new order in each epoch, by the task's seed.
        epoch: Keeps the number of the epoch.
        augmentation: What changes the texts; None leaves them.
        texts: In any form that `fit` takes; the examples are of the first of them.

    Returns:
        As `token_batches`.

    Raises:
        TransformerError: The augmentation does not go with the texts.
    """
    settings = {
        "boundaries": task._boundaries(examples), "shuffle": shuffle, "seed": task.seed, "epoch": epoch
    }  # fmt: skip
    if augmentation is None:
        return token_batches(examples, batch_size, **settings)
    records = as_records(texts)
    if len(records) < len(examples):
        raise TransformerError(
            f"augmentation reads the texts a second time: give them in a list or a Split; got {type(texts).__name__}"
        )
    records = records.take(range(len(examples)))

    def neighbours() -> EmbeddingNeighbours:
        table = keras.ops.convert_to_numpy(task.encoder.get_layer("embeddings").token.embeddings)
        return encoder_neighbours(task.tokenizer.spec(), np.asarray(table, "float32"))

    augmentation.prepare(records, neighbours)
    return augmented_batches(
        augmentation,
        records,
        examples,
        batch_size,
        tokenize=task.tokenizer.tokenize,
        pack=task.pack,
        **settings,
    )


def rows_to_train_on(
    task: Any,
    batches: tf.data.Dataset,
    states: StoredStates | None,
    packing: bool,
    say: Callable[[str], None],
) -> tf.data.Dataset:
    """Batches of token ids as the network is given them: as they are, packed, or as what frozen layers made of them.

    Args:
        task: A `TextTask`.
        batches: Of `training_batches`.
        states: The stored outputs of frozen layers, if there are any. They win over packing, and a line says so.
        packing: Put several texts into a row.
        say: Takes that line.
    """
    if states is not None:
        if packing:
            say("packing: off, epochs train from stored vectors, each text in a row of its own")
        return states.batches(batches)
    if not packing:
        return batches
    replicas = task.distribute_strategy.num_replicas_in_sync
    return packed_batches(batches, task.max_length, task.tokenizer.pad_id, replicas)


def cache_beside(
    task: Any, cache: PrefixCache | None, augmentation: Augmentation | None, say: Callable[[str], None]
) -> PrefixCache | None:
    """The prefix cache, unless texts change in each epoch; a line says so where there is something to lose."""
    if cache is None or augmentation is None:
        return cache
    if cache.persistent or task.frozen_prefix() is not None:
        (cache.say or say)("prefix cache: off, augmentation draws other texts in each epoch")
    return None
