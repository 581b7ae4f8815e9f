"""keras-hub: `BertTextClassifier.from_preset(folder, num_classes=...).fit(texts)`, as its documentation has it.

Settings beyond those of every trainer: `length` is the preprocessor's `sequence_length` (None for its
default, 512), `jit` is what `compile` gets ("auto" is Keras's default).
"""

from pathlib import Path
from typing import Any

import numpy as np
from sidebyside.fit_turns import serve_finetuning


def build(settings: dict[str, Any]) -> Any:
    import keras
    import keras_hub
    import tensorflow as tf
    from keras_fit import ClockCallback, KerasTrainer
    from safetensors.numpy import load_file
    from sidebyside.token_count import TokenCount

    folder = settings["folder"]
    if settings["precision"] == "bfloat16":
        keras.config.set_dtype_policy("mixed_bfloat16")
    options = {} if settings["length"] is None else {"sequence_length": settings["length"]}
    preprocessor = keras_hub.models.BertTextClassifierPreprocessor.from_preset(folder, **options)
    head = load_file(Path(folder) / "model.safetensors")
    classifier = keras_hub.models.BertTextClassifier.from_preset(
        folder, num_classes=len(head["classifier.bias"]), preprocessor=preprocessor
    )
    # It leaves a checkpoint's head out; with it, all contenders start from the same loss.
    classifier.output_dense.set_weights([head["classifier.weight"].T, head["classifier.bias"]])
    backbone = classifier.backbone
    if settings["freeze"]:
        for name in ("token_embedding", "position_embedding", "segment_embedding", "embeddings_layer_norm"):
            backbone.get_layer(name).trainable = False
        for i in range(settings["freeze"]):
            backbone.get_layer(f"transformer_layer_{i}").trainable = False
    classifier.compile(optimizer=keras.optimizers.Adam(settings["learning_rate"]), jit_compile=settings["jit"])
    whole = keras_hub.models.BertTextClassifierPreprocessor.from_preset(
        folder, sequence_length=backbone.max_sequence_length
    )

    def lengths(texts: list) -> np.ndarray:
        return whole(tf.constant(texts))["padding_mask"].numpy().sum(axis=1)

    class KerasHub(KerasTrainer):
        def fit(self, texts: list, labels: list, epochs: int, clock: Any) -> None:
            classifier.fit(
                texts,
                np.array(labels),
                batch_size=settings["batch_size"],
                epochs=epochs,
                verbose=0,
                callbacks=[ClockCallback(clock)],
            )

        def logits(self, texts: list) -> np.ndarray:
            # Short rows are cut to what they need: evaluation is not timed, and need not take long.
            outputs = []
            for start in range(0, len(texts), 64):
                packed = whole(tf.constant(texts[start : start + 64]))
                longest = min(-(-int(packed["padding_mask"].numpy().sum(1).max()) // 32) * 32, self._longest())
                outputs.append(self.run([{key: value[:, :longest] for key, value in packed.items()}]))
            return np.concatenate(outputs)

        def tokens(self, texts: list) -> TokenCount:
            return TokenCount.of([(np.minimum(lengths(texts), self._longest()), self._longest())])

        def dropout(self) -> float:
            return backbone.dropout

        def _longest(self) -> int:
            return preprocessor.sequence_length

    return KerasHub(classifier)


if __name__ == "__main__":
    serve_finetuning(build)
