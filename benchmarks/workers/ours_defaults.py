"""tftransformer's cells of `defaults.py`: its defaults, the grid around them, and its methods."""

from typing import Any

from default_turns import Predict, serve_defaults


def train_by_default(preset: str, train: Any, sequence_length: int, seed: int) -> Any:
    """Our defaults: what a user gets who says nothing but the preset, the rows and the longest text.

    Args:
        preset: Name or folder.
        train: A `Split`.
        sequence_length: Longest text in tokens.
        seed: Random seed of the order of the rows.

    Returns:
        The trained classifier.
    """
    classifier = build(preset, train, sequence_length, seed)
    classifier.compile()
    classifier.fit(train, verbose=0)
    return classifier


def build(preset: str, train: Any, sequence_length: int, seed: int) -> Any:
    """A classifier for the labels of the rows, not compiled."""
    import tftransformer as tt

    return tt.TextClassifier.from_preset(
        preset, labels=train.labels, sequence_length=sequence_length, text_pairs=train.is_pair, seed=seed
    )


def load() -> None:
    import tensorflow_text  # noqa: F401

    import tftransformer as tt

    tt.TextClassifier  # noqa: B018  (imported when it is first looked at)


def train(order: dict[str, Any]) -> Predict:
    """Train a cell: `ours`, `grid:RATE:UPDATES` or `strategy:NAME`."""
    import keras
    from defaults_choice import grid_epochs, grid_setting

    from tftransformer.data.split import Split

    keras.backend.clear_session()
    keras.utils.set_random_seed(order["seed"])
    rows = Split(order["texts"], [order["labels"][target] for target in order["targets"]])
    kind, _, rest = order["contender"].partition(":")
    told = order["encoder"], rows, order["length"], order["seed"]
    if kind == "ours":
        classifier = train_by_default(*told)
    elif kind == "grid":
        rate, updates = grid_setting(order["contender"])
        classifier = build(*told)
        classifier.compile(learning_rate=rate)
        classifier.fit(rows, epochs=grid_epochs(len(rows), updates), verbose=0)
    else:
        classifier = build(*told)
        classifier.apply(rest)
        classifier.compile()
        classifier.fit(rows, verbose=0)
    places = [order["labels"].index(label) for label in classifier.labels]
    return lambda texts: [places[best] for best in classifier.predict(texts, verbose=0).argmax(axis=-1)]


if __name__ == "__main__":
    serve_defaults(load, ("tensorflow", "keras"), train)
