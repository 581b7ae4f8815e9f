"""The weights that every contender starts from: one Hugging Face folder that all of them read."""

from pathlib import Path

import numpy as np

from sidebyside.texts import vocabulary
from tftransformer.config import TransformerConfig

LABELS = ("negative", "positive")


def random_folder(folder: Path, layers: int, width: int) -> Path:
    """A classifier over `texts.vocabulary` with random weights, in a new Hugging Face folder.

    Args:
        folder: Where to.
        layers: Blocks.
        width: D; heads are those of MiniLM (12), the feed-forward layer is 4 D wide.

    Returns:
        The folder.
    """
    # TensorFlow's start-up messages are kept quiet in `main`, so it is not imported before.
    import tftransformer as tt
    from tftransformer.text import WordPieceTokenizer

    tokens = vocabulary()
    heads = 12 if width % 12 == 0 else 2
    config = TransformerConfig(
        vocabulary_size=len(tokens), num_layers=layers, hidden_dim=width, num_heads=heads, intermediate_dim=4 * width
    )
    classifier = tt.TextClassifier(config, WordPieceTokenizer(tokens), LABELS, pooling="cls")
    classifier.save_to_preset(folder, format="huggingface")
    return folder


def pretrained_folder(source: str, folder: Path, labels: tuple[str, ...], seed: int = 0) -> Path:
    """An encoder's weights with a fresh head on its first token, in a new Hugging Face folder.

    A mean of all tokens would suit a sentence encoder better, but the peers' classifiers pool the first one.
    """
    import keras

    import tftransformer as tt

    keras.utils.set_random_seed(seed)
    classifier = tt.TextClassifier.from_preset(source, labels=labels, pooling="cls", pooler=True)
    draw = np.random.default_rng(seed)
    kernel = classifier.head.weights[0]
    kernel.assign(draw.normal(0.0, 0.02, kernel.shape))
    classifier.save_to_preset(folder, format="huggingface")
    return folder


def encoder_folder(source: str, folder: Path, *, pooler: bool) -> Path:
    """An encoder without a classifier, in a new Hugging Face folder.

    Args:
        source: Any preset.
        folder: Where to.
        pooler: A fresh BERT pooler in the file, which keras-hub's converter cannot do without. Otherwise there is none,
            which transformers makes itself, and sentence-transformers finds what it pools by the mean with.

    Returns:
        The folder.
    """
    import keras

    import tftransformer as tt

    keras.utils.set_random_seed(0)
    pooling = {"pooling": "cls", "pooler": True} if pooler else {"pooling": "mean"}
    classifier = tt.TextClassifier.from_preset(source, labels=LABELS, **pooling)
    classifier.save_to_preset(folder, format="huggingface", head=False)
    return folder
