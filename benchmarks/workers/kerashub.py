"""keras-hub's BERT classifier and preprocessor in every comparison: its documentation's calls, its defaults unless told otherwise."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from sidebyside.fit_turns import TokenCount, finetuning
from sidebyside.turns import Epoch, Predict, Reader, cells, reading
from sidebyside.worker import serve_one


def classifier_of(folder: str, length: int | None) -> tuple[Any, Any]:
    """Load (classifier, preprocessor) from a Hugging Face folder; length None is the preprocessor's default, 512.

    keras-hub leaves a checkpoint's head out; with it, all contenders start from the same loss.
    """
    import keras_hub
    from safetensors.numpy import load_file

    options = {} if length is None else {"sequence_length": length}
    preprocessor = keras_hub.models.BertTextClassifierPreprocessor.from_preset(folder, **options)
    head = load_file(Path(folder) / "model.safetensors")
    classifier = keras_hub.models.BertTextClassifier.from_preset(
        folder, num_classes=len(head["classifier.bias"]), preprocessor=preprocessor
    )
    classifier.output_dense.set_weights([head["classifier.weight"].T, head["classifier.bias"]])
    return classifier, preprocessor


def build_trainer(settings: dict[str, Any]) -> Any:
    """Build a `Trainer`; `length` is the preprocessor's, `jit` is what `compile` gets ("auto" is Keras's default)."""
    import keras
    import keras_hub
    import tensorflow as tf
    from keras_fit import ClockCallback, KerasTrainer

    if settings["precision"] == "bfloat16":
        keras.config.set_dtype_policy("mixed_bfloat16")
    classifier, preprocessor = classifier_of(settings["folder"], settings["length"])
    backbone = classifier.backbone
    if settings["freeze"]:
        for name in ("token_embedding", "position_embedding", "segment_embedding", "embeddings_layer_norm"):
            backbone.get_layer(name).trainable = False
        for i in range(settings["freeze"]):
            backbone.get_layer(f"transformer_layer_{i}").trainable = False
    classifier.compile(optimizer=keras.optimizers.Adam(settings["learning_rate"]), jit_compile=settings["jit"])
    whole = keras_hub.models.BertTextClassifierPreprocessor.from_preset(
        settings["folder"], sequence_length=backbone.max_sequence_length
    )
    longest = preprocessor.sequence_length

    class KerasHub(KerasTrainer):
        def fit(self, texts: list, labels: list, epochs: int, clock: Any) -> None:
            options = {"batch_size": settings["batch_size"], "epochs": epochs, "callbacks": [ClockCallback(clock)]}
            classifier.fit(texts, np.array(labels), verbose=0, **options)

        def logits(self, texts: list) -> np.ndarray:
            # Short rows are cut to what they need: evaluation is not timed, and need not take long.
            outputs = []
            for start in range(0, len(texts), 64):
                packed = whole(tf.constant(texts[start : start + 64]))
                needed = min(-(-int(packed["padding_mask"].numpy().sum(1).max()) // 32) * 32, longest)
                outputs.append(self.run([{key: value[:, :needed] for key, value in packed.items()}]))
            return np.concatenate(outputs)

        def tokens(self, texts: list) -> TokenCount:
            lengths = whole(tf.constant(texts))["padding_mask"].numpy().sum(axis=1)
            return TokenCount.of([(np.minimum(lengths, longest), longest)])

        def dropout(self) -> float:
            return backbone.dropout

    return KerasHub(classifier)


def load() -> None:
    import keras_hub  # noqa: F401


def train_cell(order: dict[str, Any]) -> Predict:
    """Train a cell: `BertTextClassifier.from_preset(folder, num_classes).fit(texts, labels)`.

    As it is compiled when it is made (Adam at 5e-5), one epoch in batches of 32. The preprocessor's `sequence_length` is that of
    the set: its own, 512, pads each row with more that is masked out, and gives the same in more time, save that longer texts would
    be seen whole.
    """
    import keras
    import keras_hub

    keras.backend.clear_session()
    keras.utils.set_random_seed(order["seed"])
    preprocessor = keras_hub.models.BertTextClassifierPreprocessor.from_preset(
        order["encoder"], sequence_length=order["length"]
    )
    classifier = keras_hub.models.BertTextClassifier.from_preset(
        order["encoder"], num_classes=len(order["labels"]), preprocessor=preprocessor
    )

    def inputs(texts: list) -> Any:
        if isinstance(texts[0], str):
            return np.array(texts, dtype=object)
        return tuple(np.array(side, dtype=object) for side in zip(*texts, strict=True))

    classifier.fit(inputs(order["texts"]), np.array(order["targets"]), verbose=0)
    return lambda texts: classifier.predict(inputs(texts), verbose=0).argmax(axis=-1)


def build_reader(settings: dict[str, Any]) -> Reader:
    """Build the BERT preprocessor inside `tf.data`, in every epoch anew, as `fit` of its classifiers does it."""
    import keras_hub
    import tensorflow as tf

    tokenizer = keras_hub.models.BertTokenizer(settings["vocabulary"], lowercase=True)
    preprocessor = keras_hub.models.BertTextClassifierPreprocessor(tokenizer, sequence_length=settings["length"])

    def reader(texts: list[str], labels: list[int]) -> Epoch:
        rows = tf.data.Dataset.from_tensor_slices((texts, labels)).shuffle(10_000)
        batches = rows.batch(settings["batch_size"]).map(preprocessor, num_parallel_calls=tf.data.AUTOTUNE)
        batches = batches.prefetch(tf.data.AUTOTUNE)

        def epoch() -> Iterator[tuple[int, int, int]]:
            for x, _ in batches:
                mask = x["padding_mask"].numpy()
                yield len(mask), mask.shape[1], int(mask.sum())

        return epoch

    return reader


def export(settings: dict[str, Any]) -> tuple[None, dict[str, Any]]:
    """Write preprocessor and classifier in one graph; rows are cut to the longest of the batch, as everybody's are."""
    import tensorflow as tf

    classifier, preprocessor = classifier_of(settings["folder"], settings["length"])
    network = classifier.backbone

    def classify(text: tf.Tensor) -> dict[str, tf.Tensor]:
        packed = preprocessor(text)
        longest = tf.reduce_max(tf.reduce_sum(tf.cast(packed["padding_mask"], tf.int32), axis=1))
        packed = {key: value[:, :longest] for key, value in packed.items()}
        pooled = network(packed, training=False)["pooled_output"]
        return {"probabilities": tf.nn.softmax(classifier.output_dense(pooled))}

    module = tf.Module()
    module.serve = tf.function(classify, autograph=False)
    module.weights = [weight.value for weight in classifier.weights]
    # Its tokenizer's tables are resources, which a SavedModel finds through the objects that hold them.
    module.tokenizer = preprocessor.tokenizer
    served = module.serve.get_concrete_function(text=tf.TensorSpec([None], tf.string))
    target = str(Path(settings["target"]) / "keras_hub")
    tf.saved_model.save(module, target, signatures={"serving_default": served})
    return None, {}


if __name__ == "__main__":
    serve_one(
        {
            "finetune": finetuning(build_trainer),
            "defaults": cells(load, ("tensorflow", "keras", "keras-hub"), train_cell),
            "data": reading(build_reader),
            "export": (export, lambda state, number: {}),
        }
    )
