"""The weights that every contender starts from: one Hugging Face folder that all of them read."""

from pathlib import Path

import numpy as np

from sidebyside.texts import vocabulary
from tftransformer.config import TransformerConfig

LABELS = ("negative", "positive")


def random_folder(folder: Path, layers: int, width: int) -> Path:
    """Write a classifier over `texts.vocabulary` with random weights into a new Hugging Face folder.

    It has so many blocks of that width, MiniLM's 12 heads where they fit, and a feed-forward layer four times as wide.
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
    """Write an encoder's weights with a fresh head on its first token into a new Hugging Face folder.

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
    """Write an encoder without a classifier into a new Hugging Face folder.

    keras-hub's converter cannot do without a BERT pooler in the file, so a fresh one is there on request. Otherwise there is none:
    transformers makes one itself, and sentence-transformers finds that it pools by the mean.
    """
    import keras

    import tftransformer as tt

    keras.utils.set_random_seed(0)
    pooling = {"pooling": "cls", "pooler": True} if pooler else {"pooling": "mean"}
    classifier = tt.TextClassifier.from_preset(source, labels=LABELS, **pooling)
    classifier.save_to_preset(folder, format="huggingface", head=False)
    return folder
