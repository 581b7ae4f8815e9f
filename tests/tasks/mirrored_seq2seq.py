"""Run by test_seq2seq.py in a process of its own, which needs two logical CPUs from the start.

Trains a tiny translator on one device and on two replicas, and prints how far the weights and the figures are apart.
"""

import json

import keras
import numpy as np
import tensorflow as tf

import tftransformer as tt
from tftransformer.distribution import build_strategy
from tftransformer.finetuning import SGD
from tftransformer.patterns import addresses

PAIRS = [(" ".join(["low", "tower"] * (1 + i % 4)), " ".join(["hoher", "Turm"] * (1 + i % 5))) for i in range(21)]


def train(strategy):
    tokenizer = tt.text.train_byte_bpe([side for pair in PAIRS for side in pair], 280)
    with strategy.scope():
        keras.utils.set_random_seed(3)
        config = tt.TransformerConfig(
            "transformer", vocabulary_size=tokenizer.vocabulary_size, num_layers=1, hidden_dim=16, num_heads=2,
            intermediate_dim=32, dropout=0.0, share_embeddings=True,
        )  # fmt: skip
        task = tt.Seq2Seq(config, tokenizer, sequence_length=16)
        task.compile(SGD(0.5, global_clipnorm=0.05))
    start = {name: np.array(value) for name, value in addresses(task).items()}
    # Batches of 8 leave a last one of 5: rows, and tokens, that two replicas cannot share equally.
    task.fit(PAIRS, epochs=2, batch_size=8, verbose=0)
    figures = task.evaluate(PAIRS, batch_size=8, verbose=0, return_dict=True)
    return start, {name: np.array(value) for name, value in addresses(task).items()}, figures


tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2
)
start, one, figures = train(build_strategy("default"))
_, two, other = train(tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]))
print(
    json.dumps(
        {
            "movement": float(max(np.abs(one[name] - start[name]).max() for name in one)),
            "difference": float(max(np.abs(one[name] - two[name]).max() for name in one)),
            "figures": max(abs(figures[name] - other[name]) / figures[name] for name in figures),
        }
    )
)
