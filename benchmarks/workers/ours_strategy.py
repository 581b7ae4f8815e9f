"""tftransformer's side of `strategies_parity.py`: a turn trains a classifier from one seed's start and tests it."""

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
from sidebyside.worker import serve


def prepare(settings: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    import tftransformer  # noqa: F401  (what takes long is not part of a turn)

    return settings, {}


def turn(settings: dict[str, Any], seed: int) -> dict[str, Any]:
    """Train with the order, the head and LoRA's A of this seed; the figures of the run."""
    import keras
    import tensorflow as tf

    keras.utils.set_random_seed(seed)
    start = np.load(Path(settings["starts"]) / f"seed-{seed}.npz")
    classifier = build(settings, start)
    texts = json.loads(Path(settings["texts"]).read_text("utf-8"))
    labels = [classifier.labels[label] for label in texts["labels"]]
    examples = classifier.preprocess(texts["texts"], labels)
    size = settings["batch_size"]
    chunks = [rows for order in start["order"] for rows in np.split(order, range(size, len(order), size))]
    batches = [examples.batch(rows, int(examples.lengths[rows].max())) for rows in chunks]
    before = classifier(batches[0][0], training=False)
    spec = tf.TensorSpec((None, None), tf.int32)
    dataset = tf.data.Dataset.from_generator(
        lambda: iter(batches), output_signature=(dict.fromkeys(batches[0][0], spec), tf.TensorSpec((None,), tf.int32))
    )
    classifier.compile(
        learning_rate=settings["learning_rate"],
        warmup=settings["warmup"],
        weight_decay=settings["weight_decay"],
        global_clipnorm=settings["clip"],
        fresh_multiplier=1.0,
        metrics=[],
    )
    ends = [(time.perf_counter(), time.process_time())]
    clock = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: ends.append((time.perf_counter(), time.process_time()))
    )
    epochs = len(start["order"])
    classifier.fit(dataset, epochs=epochs, steps_per_epoch=len(batches) // epochs, callbacks=[clock], verbose=0)
    predicted = classifier.predict(texts["test_texts"], verbose=0).argmax(axis=-1)
    losses = keras.losses.sparse_categorical_crossentropy(batches[0][1], before, from_logits=True)
    return {
        "loss_before": float(keras.ops.mean(losses)),
        "tokens": int(sum(x["padding_mask"].sum() for x, _ in batches)),
        "steps": int(classifier.optimizer.iterations),
        "parameters": int(sum(np.prod(variable.shape) for variable in classifier.trainable_variables)),
        "ends": ends,
        "predicted": predicted.tolist(),
    }


def build(settings: dict[str, Any], start: Any) -> Any:
    """The classifier, changed for its strategy, with the seed's fresh weights."""
    import tftransformer as tt
    from tftransformer.finetuning.strategy import parse_strategy
    from tftransformer.patterns import addresses

    classifier = tt.TextClassifier.from_preset(
        settings["minilm"],
        labels=("negative", "positive"),
        pooling="cls",
        pooler=True,
        dropout=settings["dropout"],
        head_dropout=settings["dropout"],
        sequence_length=settings["length"],
    )
    parse_strategy(settings["strategy"]).apply(classifier)
    weights = addresses(classifier)
    weights["head/logits/kernel"].assign(start["head"])
    weights["head/logits/bias"].assign(np.zeros(2))
    for block, parts in enumerate(start["down"] if settings["strategy"].startswith("lora") else ()):
        for name, part in zip(("query", "value"), parts, strict=True):
            weights[f"encoder_block_{block}/attention/{name}/lora/down"].assign(part)
    return classifier


if __name__ == "__main__":
    serve(prepare, turn)
