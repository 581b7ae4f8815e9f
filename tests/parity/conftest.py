"""Checkpoint folders in other projects' layouts, and our model with every hidden state as an output."""

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

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


@pytest.fixture(scope="session")
def write_folder(tmp_path_factory):
    """Write a Hugging Face folder from its settings and tensors."""

    def write(settings: dict, tensors: dict) -> str:
        folder = tmp_path_factory.mktemp("huggingface")
        pieces = SPECIAL + [f"piece{i}" for i in range(settings["vocab_size"] - len(SPECIAL))]
        (folder / "vocab.txt").write_text("\n".join(pieces) + "\n", encoding="utf-8")
        (folder / "config.json").write_text(json.dumps(settings), encoding="utf-8")
        contiguous = {key: np.ascontiguousarray(value) for key, value in tensors.items()}
        save_file(contiguous, str(folder / "model.safetensors"))
        return str(folder)

    return write


@pytest.fixture(scope="session")
def build_model():
    """Our classifier on a configuration, whose outputs are all that a golden holds."""

    def build(config, num_classes: int) -> keras.Model:
        encoder = build_encoder(config)
        pooled = CLSPooling(name="pooler")(encoder.output)
        names = ["embeddings", *(f"encoder_block_{i}" for i in range(config.num_layers))]
        found = {f"hidden_{i}": encoder.get_layer(name).output for i, name in enumerate(names)}
        logits = ClassificationHead(num_classes, name="head")(pooled)
        return keras.Model(encoder.input, {**found, "pooled": pooled, "logits": logits})

    return build


@pytest.fixture(scope="session")
def deviation():
    """The largest difference of real positions from a reference, relative to max(1, max|reference|)."""

    def measure(ours: dict, reference: dict, padding_mask: np.ndarray) -> float:
        worst = 0.0
        for name, b in reference.items():
            a = keras.ops.convert_to_numpy(ours[name])
            assert a.shape == b.shape, name
            difference = np.abs(a - b)
            if b.ndim == 3:  # what stands at padding is nobody's business
                difference = difference * padding_mask[:, :, None]
            worst = max(worst, float(difference.max() / max(1.0, np.abs(b).max())))
        return worst

    return measure


@pytest.fixture(scope="session")
def generate_bert():
    """The goldens' generator, by its path: the tests are no package."""
    path = Path(__file__).parent / "generate_bert.py"
    specification = importlib.util.spec_from_file_location("generate_bert", path)
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module
