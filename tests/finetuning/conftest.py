"""Small models whose layers carry the names that fine-tuning selects by."""

from types import SimpleNamespace

import keras
import numpy as np
import pytest


def build_model(blocks=3, extra=1, width=6, seed=0):
    """A functional classifier of (B, 4) ids into 3 classes."""
    keras.utils.set_random_seed(seed)
    ids = keras.Input((4,), dtype="int32", name="token_ids")
    x = keras.layers.Embedding(11, width, name="embeddings")(ids)
    for index in range(blocks):
        x = keras.layers.Dense(width, activation="tanh", name=f"encoder_block_{index}")(x)
        x = keras.layers.LayerNormalization(name=f"norm_{index}")(x)
    for index in range(extra):
        x = keras.layers.Dense(width, activation="tanh", name=f"extra_block_{index}")(x)
    x = keras.layers.GlobalAveragePooling1D(name="pooler")(x)
    return keras.Model(ids, keras.layers.Dense(3, name="head")(x))


class Task(keras.Model):
    """A model that wraps an encoder, as a task does."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        inner = build_model()
        self.encoder = keras.Model(inner.inputs, inner.get_layer("pooler").output, name="encoder")
        self.head = keras.layers.Dense(3, name="head")

    def call(self, ids, training=None):
        return self.head(self.encoder(ids, training=training))


def data(rows=48, seed=0):
    """Ids (B, 4) and labels (B,)."""
    random = np.random.default_rng(seed)
    return random.integers(0, 11, (rows, 4)).astype("int32"), random.integers(0, 3, rows).astype("int32")


def loss():
    return keras.losses.SparseCategoricalCrossentropy(from_logits=True)


@pytest.fixture
def small():
    """`small.build_model()`, `small.Task`, `small.data()` and `small.loss()`."""
    return SimpleNamespace(build_model=build_model, Task=Task, data=data, loss=loss)
