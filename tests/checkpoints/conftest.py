"""Tiny checkpoints on disk, with every tensor random, made without torch."""

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from tftransformer.checkpoints.rules import to_source
from tftransformer.config import TransformerConfig
from tftransformer.models.families import FAMILIES
from tftransformer.models.shapes import encoder_shapes

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
SETTINGS = {
    "model_type": "bert",
    "vocab_size": 23,
    "hidden_size": 8,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 12,
    "max_position_embeddings": 10,
    "type_vocab_size": 2,
    "hidden_act": "gelu",
}


class Folder:
    """A Hugging Face folder in parts, to break before it is written."""

    def __init__(self, path: Path, config: TransformerConfig) -> None:
        rng = np.random.default_rng(0)
        shapes = {**encoder_shapes(config), "pooler/dense/kernel": (8, 8), "pooler/dense/bias": (8,)}
        self.path = path
        self.settings = dict(SETTINGS)
        self.vocabulary = SPECIAL + [f"piece{i}" for i in range(18)]
        self.tensors = dict(
            to_source(FAMILIES["bert"].huggingface.table, address, rng.normal(size=shape).astype("float32"), 2)
            for address, shape in shapes.items()
        )

    def add_head(self, classes: int = 3) -> None:
        self.tensors["classifier.weight"] = np.full((classes, 8), 0.5, "float32")
        self.tensors["classifier.bias"] = np.full((classes,), 0.25, "float32")

    def rename(self, old: str, new: str) -> None:
        self.tensors[new] = self.tensors.pop(old)

    def write(self) -> Path:
        self.path.mkdir(exist_ok=True)
        (self.path / "config.json").write_text(json.dumps(self.settings), encoding="utf-8")
        (self.path / "vocab.txt").write_bytes("".join(f"{v}\n" for v in self.vocabulary).encode())
        contiguous = {key: np.ascontiguousarray(value) for key, value in self.tensors.items()}
        save_file(contiguous, str(self.path / "model.safetensors"))
        return self.path


@pytest.fixture
def config() -> TransformerConfig:
    return TransformerConfig(
        "bert", vocabulary_size=23, num_layers=2, hidden_dim=8, num_heads=2, intermediate_dim=12, max_sequence_length=10
    )


@pytest.fixture
def folder(tmp_path, config) -> Folder:
    return Folder(tmp_path / "huggingface", config)
