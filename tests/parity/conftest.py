"""Checkpoint folders in other projects' layouts, and everything that our models compute on the way to logits."""

import importlib.util
import json
from pathlib import Path

import keras
import numpy as np
import pytest
from safetensors.numpy import save_file

from tftransformer.layers.heads import ClassificationHead
from tftransformer.layers.pooling import CLSPooling
from tftransformer.models.encoder import build_encoder
from tftransformer.models.families import FAMILIES
from tftransformer.patterns import addresses

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


@pytest.fixture(scope="session")
def write_folder(tmp_path_factory):
    """Write a Hugging Face folder with a WordPiece vocabulary from its settings and tensors."""

    def write(settings: dict, tensors: dict) -> str:
        folder = tmp_path_factory.mktemp("huggingface")
        pieces = SPECIAL + [f"piece{i}" for i in range(settings["vocab_size"] - len(SPECIAL))]
        (folder / "vocab.txt").write_text("\n".join(pieces) + "\n", encoding="utf-8")
        (folder / "config.json").write_text(json.dumps(settings), encoding="utf-8")
        contiguous = {key: np.ascontiguousarray(value) for key, value in tensors.items()}
        save_file(contiguous, str(folder / "model.safetensors"))
        return str(folder)

    return write


class Classifier(keras.Model):
    """An encoder, its family's pooler and a head, whose every step can be looked at."""

    def __init__(self, config, num_classes: int) -> None:
        super().__init__(name="classifier")
        self.config = config
        self.encoder = build_encoder(config)
        activation = FAMILIES[config.family].pooler_activation
        self.pooler = CLSPooling(activation=activation, name="pooler")
        self.head = ClassificationHead(num_classes, name="head")
        self.pooler.build((None, None, config.hidden_dim))
        self.head.build((None, config.hidden_dim))
        self.built = True

    def call(self, inputs):
        return self.head(self.pooler(self.encoder(inputs)))

    def steps(self, inputs) -> dict[str, np.ndarray]:
        """Every hidden state, every attention map, the pooled vector and the logits."""
        layer = self.encoder.get_layer
        x = layer("embeddings")(inputs["token_ids"], segment_ids=inputs.get("segment_ids"))
        found = {"hidden_0": x}
        for i in range(self.config.num_layers):
            block = layer(f"encoder_block_{self.config.block_of_layer(i)}")
            x, scores = block(x, padding_mask=inputs["padding_mask"], return_attention_scores=True)
            found.update({f"hidden_{i + 1}": x, f"attention_{i}": scores})
        found["pooled"] = self.pooler(self.encoder(inputs))
        found["logits"] = self(inputs)
        return {name: keras.ops.convert_to_numpy(value) for name, value in found.items()}

    def gradient(self, address: str, inputs, weights: np.ndarray) -> np.ndarray:
        """The gradient of the weighted sum of the logits by one variable."""
        import tensorflow as tf

        variable = addresses(self)[address].value
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(self(inputs) * weights)
        return tape.gradient(loss, variable).numpy()


@pytest.fixture(scope="session")
def build_model():
    """Our classifier on a configuration."""
    return Classifier


@pytest.fixture(scope="session")
def deviation():
    """The largest difference of real positions from a reference, relative to max(1, max|reference|)."""

    def measure(ours: dict, reference: dict, padding_mask: np.ndarray) -> float:
        worst = 0.0
        for name, b in reference.items():
            a = keras.ops.convert_to_numpy(ours[name])
            assert a.shape == b.shape, name
            difference = np.abs(a - b)
            # What stands at padding is nobody's business.
            if name.startswith("hidden"):
                difference = difference * padding_mask[:, :, None]
            if name.startswith("attention"):
                difference = difference * padding_mask[:, None, :, None]
            worst = max(worst, float(difference.max() / max(1.0, np.abs(b).max())))
        return worst

    return measure


@pytest.fixture(scope="session")
def generator():
    """The goldens' generator, by its path: the tests are no package."""
    path = Path(__file__).parent / "generate_goldens.py"
    specification = importlib.util.spec_from_file_location("generate_goldens", path)
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module
