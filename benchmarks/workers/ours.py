"""tftransformer in every comparison, and what its reports compare with: words counted without an encoder."""

import importlib.metadata
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from sidebyside.fit_turns import TokenCount, finetuning
from sidebyside.turns import Epoch, Predict, Reader, cells, read_order, reading
from sidebyside.worker import serve_one


def build_trainer(settings: dict[str, Any]) -> Any:
    """Build a `Trainer`: `TextClassifier.from_preset(folder).compile().fit(texts)`.

    Settings beyond those of every trainer: `jit` (XLA; the default is none on a CPU), `activation_cache`, `freeze_embeddings` (only
    they are frozen, the reference for what the blocks cost alone).
    """
    from keras_fit import ClockCallback, KerasTrainer

    import tftransformer as tt

    policy = {"float32": "float32", "bfloat16": "mixed_bfloat16"}[settings["precision"]]
    classifier = tt.TextClassifier.from_preset(settings["folder"], dtype=policy, sequence_length=settings["length"])
    if settings["freeze"]:
        classifier.apply(tt.Freeze(layers=settings["freeze"]))
    elif settings.get("freeze_embeddings"):
        classifier.apply(tt.Freeze(layers=0))
    options = {"jit_compile": settings["jit"]} if "jit" in settings else {}
    classifier.compile(learning_rate=settings["learning_rate"], **options)
    fit_options = {"activation_cache": settings["activation_cache"]} if "activation_cache" in settings else {}

    def shape(batch: tuple) -> tuple[np.ndarray, int]:
        mask = batch[0]["padding_mask"].numpy()
        return mask.sum(axis=1), mask.shape[1]

    class Ours(KerasTrainer):
        _kept: tuple = (None, None, None)

        def fit(self, texts: list, labels: list, epochs: int, clock: Any) -> None:
            names = [classifier.labels[label] for label in labels]
            callbacks = [ClockCallback(clock)]
            classifier.fit(texts, names, settings["batch_size"], epochs, verbose=0, callbacks=callbacks, **fit_options)

        def logits(self, texts: list) -> np.ndarray:
            # Evaluation is not timed, and need not take long: the batches of the last texts are kept.
            if texts is not self._kept[0]:
                batches, inverse = tt.data.pipeline.ordered_batches(classifier.preprocess(texts), 64)
                self._kept = texts, list(batches), inverse
            return self.run(self._kept[1])[self._kept[2]]

        def tokens(self, texts: list) -> TokenCount:
            examples = classifier.preprocess(texts, [classifier.labels[0]] * len(texts))
            boundaries = None
            if classifier.jit_compile:
                boundaries = tt.data.buckets.length_buckets(examples.lengths, classifier.sequence_length)
            batches = tt.data.pipeline.token_batches(examples, settings["batch_size"], boundaries=boundaries)
            return TokenCount.of(shape(batch) for batch in batches)

        def dropout(self) -> float:
            return classifier.config.dropout

    return Ours(classifier)


def load() -> None:
    import tensorflow_text  # noqa: F401

    import tftransformer as tt

    tt.TextClassifier  # noqa: B018  (imported when it is first looked at)


def train_cell(order: dict[str, Any]) -> Predict:
    """Train a cell: `ours`, which is told nothing but preset, rows and longest text; `grid:RATE:UPDATES` or `strategy:NAME`."""
    import keras
    from defaults_cells import grid_epochs, grid_setting

    import tftransformer as tt
    from tftransformer.data.split import Split

    keras.backend.clear_session()
    keras.utils.set_random_seed(order["seed"])
    rows = Split(order["texts"], [order["labels"][target] for target in order["targets"]])
    classifier = tt.TextClassifier.from_preset(
        order["encoder"],
        labels=rows.labels,
        sequence_length=order["length"],
        text_pairs=rows.is_pair,
        seed=order["seed"],
    )
    kind, _, rest = order["contender"].partition(":")
    if kind == "grid":
        rate, updates = grid_setting(order["contender"])
        classifier.compile(learning_rate=rate)
        classifier.fit(rows, epochs=grid_epochs(len(rows), updates), verbose=0)
    else:
        if kind == "strategy":
            classifier.apply(rest)
        classifier.compile()
        classifier.fit(rows, verbose=0)
    places = [order["labels"].index(label) for label in classifier.labels]
    return lambda texts: [places[best] for best in classifier.predict(texts, verbose=0).argmax(axis=-1)]


def prepare_words(settings: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    from tftransformer.evaluation import baselines  # noqa: F401  (what takes long is not part of a turn)

    return settings["orders"], {}


def count_words(folder: str, number: int) -> dict[str, Any]:
    """Train a cell of TF-IDF of words and logistic regression, as every report shows it; it scores the test rows itself."""
    from tftransformer.evaluation.baselines import tfidf_baseline

    order = read_order(folder, number)
    found = tfidf_baseline(
        order["texts"], order["targets"], order["test_texts"], order["test_targets"], order["labels"], order["seed"]
    )
    figures = {name: found[name] for name in ("accuracy", "macro_f1", "seconds")}
    return {**figures, "versions": {"scikit-learn": importlib.metadata.version("scikit-learn")}}


def prepare_strategy(settings: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    import tftransformer  # noqa: F401  (what takes long is not part of a turn)

    return settings, {}


def train_strategy(settings: dict[str, Any], seed: int) -> dict[str, Any]:
    """Train with the order, the head and LoRA's A of this seed; the figures of the run."""
    import keras
    import tensorflow as tf

    keras.utils.set_random_seed(seed)
    start = np.load(Path(settings["starts"]) / f"seed-{seed}.npz")
    classifier = start_strategy(settings, start)
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


def start_strategy(settings: dict[str, Any], start: Any) -> Any:
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


def build_reader(settings: dict[str, Any]) -> Reader:
    """Build the reader: texts tokenised once into flat arrays, an epoch of batches grouped by length."""
    import tftransformer as tt
    from tftransformer.data.fields import Values
    from tftransformer.data.texts import Texts
    from tftransformer.text import WordPieceTokenizer

    tokenizer = WordPieceTokenizer(settings["vocabulary"])
    pack = tt.data.packer(tokenizer, settings["length"])

    def reader(texts: list[str], labels: list[int]) -> Epoch:
        targets = Values(np.array(labels, "int32"))
        examples = tt.data.build_examples(Texts(texts), targets, tokenize=tokenizer.tokenize, pack=pack)
        batches = tt.data.token_batches(examples, settings["batch_size"])

        def epoch() -> Iterator[tuple[int, int, int]]:
            for x, _ in batches:
                mask = x["padding_mask"].numpy()
                yield len(mask), mask.shape[1], int(mask.sum())

        return epoch

    return reader


def export(settings: dict[str, Any]) -> tuple[None, dict[str, Any]]:
    """Write the SavedModels of the inference benchmark."""
    import tftransformer as tt

    classifier = tt.TextClassifier.from_preset(settings["folder"], sequence_length=settings["length"], text_pairs=False)
    for dtype in ("float32", "bfloat16"):
        classifier.export(Path(settings["target"]) / f"ours_{dtype}", dtype=dtype)
    return None, {}


if __name__ == "__main__":
    serve_one(
        {
            "finetune": finetuning(build_trainer),
            "defaults": cells(load, ("tensorflow", "keras"), train_cell),
            "words": (prepare_words, count_words),
            "strategy": (prepare_strategy, train_strategy),
            "data": reading(build_reader),
            "export": (export, lambda state, number: {}),
        }
    )
