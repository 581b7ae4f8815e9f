"""keras-hub's cells of `defaults.py`: `BertTextClassifier.from_preset(folder, num_classes).fit(texts, labels)`.

As it is compiled when it is made (Adam at 5e-5), one epoch in batches of 32. The preprocessor's `sequence_length` is that
of the set: its own, 512, pads each row with more that is masked out, and gives the same in more time, save that longer
texts would be seen whole.
"""

from typing import Any

from default_turns import Predict, serve_defaults


def load() -> None:
    import keras_hub  # noqa: F401


def train(order: dict[str, Any]) -> Predict:
    """Train a cell."""
    import keras
    import keras_hub
    import numpy as np

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


if __name__ == "__main__":
    serve_defaults(load, ("tensorflow", "keras", "keras-hub"), train)
