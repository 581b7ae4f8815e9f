"""Run by test_mirrored_classifier.py in a process of its own, which needs two logical CPUs from the start.

Trains a tiny classifier on raw texts on one device and on two replicas, and prints how far the weights are apart.
"""

import json
import sys
import tempfile

import keras
import numpy as np
import tensorflow as tf

from tftransformer.distribution import build_strategy
from tftransformer.finetuning import SGD, ActivationCache, Freeze, GradualUnfreezing, LoRA
from tftransformer.patterns import addresses
from tftransformer.tasks import MultiTaskClassifier, TextClassifier, TextRegressor, TokenClassifier

# Batches of 8 leave a last one of 5, and of 1: rows that two replicas cannot share equally.
CASES = {
    "last batch of 5": (21, 0, dict(global_clipnorm=0.05, gradient_accumulation_steps=2)),
    "last batch of 1": (25, 0, dict(global_clipnorm=0.05)),
    # On two replicas from stored outputs of what is frozen, on one device without.
    "one frozen block": (21, 1, dict(global_clipnorm=0.05)),
    "all frozen": (21, 2, dict(global_clipnorm=0.05)),
    "stages of frozen blocks": (21, 0, dict(momentum=0.9, global_clipnorm=0.05, gradient_accumulation_steps=2)),
    "changed copies": (21, 0, dict(global_clipnorm=0.05)),
    "packed last batch of 1": (25, 0, dict(global_clipnorm=0.05)),
    "packed dataset": (21, 0, dict(global_clipnorm=0.05)),
    "packed tasks": (21, 0, dict(global_clipnorm=0.05)),
    "put in after predict": (21, 0, dict(global_clipnorm=0.05)),
    # The loss is a mean over weights, not over rows.
    "weighted mean": (21, 0, dict(global_clipnorm=0.05)),
    "numbers": (21, 0, dict(global_clipnorm=0.05)),
    "tags": (21, 0, dict(global_clipnorm=0.05)),
}
FIT = {
    "stages of frozen blocks": {"methods": GradualUnfreezing(), "epochs": 3},
    "changed copies": {"augmentation": "delete:0.4"},
    "packed last batch of 1": {"packing": True},
    "packed dataset": {"packing": True, "dataset": True},
    "packed tasks": {"packing": True, "tasks": True},
    "put in after predict": {"late": True},
    "weighted mean": {"loss": "mean_with_sample_weight"},
    "numbers": {"numbers": True},
    "tags": {"tags": True},
}


def train(
    preset, strategy, rows, frozen, options, cache, dataset=False, tasks=False, late=False, methods=(), loss=None,
    numbers=False, tags=False, **fit,
):  # fmt: skip
    texts = [" ".join(["good", "film"] * (1 + i % 5)) if i % 3 else "bad " * (1 + i % 4) for i in range(rows)]
    labels = [int(i % 3 == 0) for i in range(rows)]
    with strategy.scope():
        keras.utils.set_random_seed(3)
        still = {"dropout": 0.0, "head_dropout": 0.0}
        if tasks:
            tasks = {"mood": ["no", "yes"], "tone": ["low", "high", "flat"]}
            classifier = MultiTaskClassifier.from_preset(preset, tasks=tasks, **still)
        elif numbers:
            classifier = TextRegressor.from_preset(preset, **still)
        elif tags:
            texts = [text.split() for text in texts]
            labels = [["GOOD" if word == "good" else "OTHER" for word in words] for words in texts]
            classifier = TokenClassifier.from_preset(preset, labels=["GOOD", "OTHER"], **still)
        else:
            classifier = TextClassifier.from_preset(preset, labels=["no", "yes"], **still)
        if frozen:
            classifier.apply(Freeze(layers=frozen))
        if methods:
            classifier.apply(methods)
        objective = {}
        if loss is not None:
            objective = {"loss": keras.losses.SparseCategoricalCrossentropy(reduction=loss)}
            fit["sample_weight"] = 0.1 + np.arange(rows) % 7
        classifier.compile(SGD(0.3, **options), **objective)
        if late:
            classifier.predict(texts, verbose=0)
            classifier.apply(LoRA(rank=2))
        start = values(classifier)
        x, y = texts, labels
        if dataset:
            x, y = tf.data.Dataset.from_tensor_slices((texts, labels)).batch(8), None
        if tasks:
            x, y = {"mood": (texts, labels), "tone": (texts[:9], [i % 3 for i in range(9)])}, None
        classifier.fit(x, y, batch_size=8, verbose=0, activation_cache=cache, **{"epochs": 2, **fit})
    task = {"task": "mood"} if tasks else {}
    predicted = classifier.predict(texts, verbose=0, **task)
    return start, values(classifier), np.concatenate(predicted) if tags else predicted


def values(classifier):
    return {name: np.array(variable) for name, variable in addresses(classifier).items()}


def main(preset, *cases):
    tf.config.set_logical_device_configuration(
        tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2
    )
    results = {}
    for case in cases:
        rows, frozen, options = CASES[case]
        replicas = build_strategy("mirrored", ["CPU:0", "CPU:1"])
        fit = FIT.get(case, {})
        start, one, alone = train(preset, build_strategy("default"), rows, frozen, options, "off", **fit)
        # A folder of its own: it shall not find what another case stored.
        with tempfile.TemporaryDirectory() as folder:
            cache = ActivationCache(folder if "frozen" in case else None, say=lambda line: None)
            _, two, shared = train(preset, replicas, rows, frozen, options, cache, **fit)
        results[case] = {
            "difference": max(float(np.abs(one[name] - two[name]).max()) for name in one),
            "movement": max(float(np.abs(one[name] - start[name]).max()) for name in one),
            "stored_rows": cache.computed_rows,
            "probabilities": float(np.abs(alone - shared).max()),
        }
    print(json.dumps(results))


if __name__ == "__main__":
    main(*sys.argv[1:])
