"""Models and texts go when their owner lets go: memory does not grow with the number of fits and predictions.

Live objects are counted in this process; megabytes in one of its own, where no other test has been.
"""

import collections
import dataclasses
import gc
import os
import re
import subprocess
import sys
import weakref
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from tftransformer.data.examples import Examples
from tftransformer.finetuning import freeze
from tftransformer.finetuning.activation_cache import StoredStates
from tftransformer.tasks import TextClassifier
from tftransformer.text import WordPieceTokenizer

TEXTS, LABELS = ["good film", "bad plot and slow music", "a great film", "awful"] * 4, [1, 0, 1, 0] * 4


def build(vocabulary, config):
    classifier = TextClassifier(
        dataclasses.replace(config, num_layers=1), WordPieceTokenizer(vocabulary), ["no", "yes"]
    )
    classifier.compile(learning_rate=1e-3)
    return classifier


def alive(*kinds):
    gc.collect()
    return collections.Counter(kind for item in gc.get_objects() for kind in kinds if type(item) is kind)


@pytest.mark.slow
def test_a_model_that_was_trained_goes_with_its_graphs(tiny_vocabulary, tiny_config):
    graph = type(tf.function(lambda: tf.constant(1)).get_concrete_function().graph)
    seen, counts = [], []
    for _ in range(3):
        classifier = build(tiny_vocabulary, tiny_config)
        classifier.fit(TEXTS, LABELS, batch_size=8, verbose=0, epochs=1)
        seen.append(weakref.ref(classifier.encoder.get_layer("embeddings").token.embeddings))
        del classifier
        counts.append(alive(graph, Examples))
    assert [weight() for weight in seen] == [None] * 3
    # The first one leaves what is made once for all: small graphs of kernels.
    assert counts[2] == counts[1] and counts[2][Examples] == 0


def test_tokenised_texts_and_stored_states_go_with_the_call(tiny_vocabulary, tiny_config):
    classifier = build(tiny_vocabulary, tiny_config)
    classifier.compile(run_eagerly=True)
    before = alive(Examples, StoredStates)
    classifier.predict(TEXTS, verbose=0)
    classifier.evaluate(TEXTS, LABELS, verbose=0)
    classifier.fit(TEXTS, LABELS, batch_size=8, verbose=0, validation_split=0.25, packing=True, epochs=1)
    classifier.fit(TEXTS, LABELS, batch_size=8, verbose=0, augmentation="delete:0.2", epochs=1)
    freeze(classifier, layers=1)
    classifier.compile(run_eagerly=True)
    classifier.fit(TEXTS, LABELS, batch_size=8, epochs=2, verbose=0)
    assert alive(Examples, StoredStates) == before


GROWTH = """
import gc, sys
import numpy as np
from tftransformer.config import TransformerConfig
from tftransformer.text import WordPieceTokenizer
from tftransformer.tasks import TextClassifier

def megabytes():
    gc.collect()
    with open("/proc/self/statm") as pages:
        return int(pages.read().split()[1]) * 4096 / 1e6

words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *(f"w{i}" for i in range(20000))]
tokenizer = WordPieceTokenizer(words)
# 7.7 MB of weights, three times that with the moments of AdamW.
config = TransformerConfig(vocabulary_size=len(words), num_layers=1, hidden_dim=96, num_heads=2,
                           intermediate_dim=96, max_sequence_length=32)
draw = np.random.default_rng(0)
texts = [" ".join(draw.choice(words[5:], 24)) for _ in range(2000)]

def fit():
    classifier = TextClassifier(config, tokenizer, ["no", "yes"])
    classifier.compile(learning_rate=1e-3)
    classifier.fit(texts[:32], [0, 1] * 16, batch_size=16, verbose=0)
    return classifier

def growth(times, act):
    act(), act()
    before = megabytes()
    for _ in range(times):
        act()
        gc.collect()  # models hold cycles: how many wait for Python's own rounds is not what is asked here
    return megabytes() - before

fits, predictions = int(sys.argv[1]), int(sys.argv[2])
print("fits", growth(fits, lambda: fit() and None))
classifier = fit()
print("predictions", growth(predictions, lambda: classifier.predict(texts, batch_size=500, verbose=0)))
"""


@pytest.mark.slow
@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="reads Linux's account of memory")
def test_twenty_fits_and_two_hundred_predictions_take_no_more_than_one():
    root = str(Path(__file__).resolve().parents[2])
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONPATH": root}
    done = subprocess.run(
        [sys.executable, "-c", GROWTH, "20", "200"],
        env=environment, capture_output=True, text=True, timeout=900, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    grown = {name: float(value) for name, value in re.findall(r"^(\w+) (\S+)$", done.stdout, re.M)}
    # A model that stays is 30 MB and more, the tokens of the texts of a prediction .2 MB.
    assert np.isfinite(list(grown.values())).all()
    assert grown["fits"] < 45, grown
    assert grown["predictions"] < 20, grown
