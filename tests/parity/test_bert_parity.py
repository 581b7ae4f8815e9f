"""BERT's numbers against Hugging Face's (committed goldens, and live) and keras-hub's, on random weights."""

import json
from pathlib import Path

import keras
import numpy as np
import pytest

from tftransformer.checkpoints import ArraySource, KerasHubSource, load_preset
from tftransformer.checkpoints.assign import assign
from tftransformer.checkpoints.huggingface import convert_config
from tftransformer.checkpoints.tables import bert
from tftransformer.config import TransformerConfig
from tftransformer.patterns import addresses

TOLERANCE = 1e-5
CASES = ("ragged", "one", "seven", "full")


@pytest.fixture(scope="module")
def golden():
    with np.load(Path(__file__).parent / "goldens" / "bert.npz") as arrays:
        return dict(arrays)


def part(golden, prefix):
    return {key.removeprefix(prefix): value for key, value in golden.items() if key.startswith(prefix)}


@pytest.fixture(scope="module")
def loaded(golden, write_folder, build_model):
    preset = load_preset(write_folder(json.loads(str(golden["config"])), part(golden, "weights/")))
    model = build_model(preset.config, 3)
    return model, preset.load_into(model)


@pytest.mark.parametrize("case", CASES)
def test_every_output_is_hugging_faces(case, golden, loaded, deviation):
    inputs = part(golden, f"{case}/inputs/")
    reference = part(golden, f"{case}/outputs/")
    assert len(reference) == 6
    assert deviation(loaded[0](inputs), reference, inputs["padding_mask"]) < TOLERANCE


def test_every_tensor_is_used(golden, loaded):
    _, summary = loaded
    assert sorted(summary.loaded.values()) == sorted(part(golden, "weights/"))
    assert not summary.ignored and not summary.fresh


def _transposed(weights, name):
    weights[name] = weights[name].T.copy()


def _swapped(weights, first, second):
    weights[first], weights[second] = weights[second], weights[first]


LAYER = "bert.encoder.layer.1."
MUTATIONS = {
    "query kernel": (_transposed, LAYER + "attention.self.query.weight"),
    "key kernel": (_transposed, LAYER + "attention.self.key.weight"),
    "value kernel": (_transposed, LAYER + "attention.self.value.weight"),
    "output kernel": (_transposed, LAYER + "attention.output.dense.weight"),
    "pooler kernel": (_transposed, "bert.pooler.dense.weight"),
    "query and value biases": (
        _swapped,
        LAYER + "attention.self.query.bias",
        LAYER + "attention.self.value.bias",
    ),
    "output biases": (_swapped, LAYER + "attention.output.dense.bias", LAYER + "output.dense.bias"),
    "norms": (_swapped, LAYER + "attention.output.LayerNorm.weight", LAYER + "output.LayerNorm.weight"),
    "blocks": (_swapped, LAYER + "output.dense.weight", "bert.encoder.layer.0.output.dense.weight"),
}


@pytest.mark.parametrize("name", MUTATIONS)
def test_the_check_bites(name, golden, loaded, deviation):
    change, *names = MUTATIONS[name]
    weights = part(golden, "weights/")
    model, _ = loaded
    inputs, reference = part(golden, "ragged/inputs/"), part(golden, "ragged/outputs/")
    try:
        change(weights, *names)
        assign(addresses(model), ArraySource(weights), bert.HUGGING_FACE)
        assert deviation(model(inputs), reference, inputs["padding_mask"]) > 100 * TOLERANCE
    finally:
        assign(addresses(model), ArraySource(part(golden, "weights/")), bert.HUGGING_FACE)


@pytest.fixture
def hub_backbone():
    """keras-hub's BERT with every weight random."""
    keras_hub = pytest.importorskip("keras_hub")
    backbone = keras_hub.models.BertBackbone(
        vocabulary_size=61,
        num_layers=2,
        num_heads=4,
        hidden_dim=24,
        intermediate_dim=40,
        max_sequence_length=20,
    )
    rng = np.random.default_rng(3)
    for variable in backbone.weights:
        variable.assign(
            (variable.path.endswith("gamma") + 0.3 * rng.normal(size=variable.shape)).astype("float32")
        )
    return backbone


def _hub_reference(backbone, inputs):
    found = {key: keras.ops.convert_to_numpy(value) for key, value in backbone(inputs).items()}
    return {"hidden_2": found["sequence_output"], "pooled": found["pooled_output"]}


def _hub_inputs():
    rng = np.random.default_rng(5)
    real = np.arange(20)[None, :] < np.array([20, 7, 1])[:, None]
    ids = np.where(real, rng.integers(5, 61, real.shape), 0).astype("int32")
    segments = (real & (ids % 2 == 1)).astype("int32")
    return {"token_ids": ids, "padding_mask": real.astype("int32"), "segment_ids": segments}


def test_keras_hub_folder_computes_what_keras_hub_does(hub_backbone, tmp_path, build_model, deviation):
    import keras_hub

    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"] + [f"piece{i}" for i in range(56)]
    hub_backbone.save_to_preset(str(tmp_path / "hub"))
    keras_hub.models.BertTokenizer(vocabulary=pieces, lowercase=True).save_to_preset(str(tmp_path / "hub"))
    preset = load_preset(tmp_path / "hub")
    assert preset.vocabulary == tuple(pieces) and preset.pooler
    assert preset.tokenizer == {"lowercase": True, "strip_accents": None}
    model = build_model(preset.config, 3)
    summary = preset.load_into(model, optional="head/.*")
    assert sorted(summary.fresh) == ["head/logits/bias", "head/logits/kernel"]
    inputs = _hub_inputs()
    assert deviation(model(inputs), _hub_reference(hub_backbone, inputs), inputs["padding_mask"]) < TOLERANCE


def test_keras_hub_weights_through_a_hugging_face_folder(hub_backbone, write_folder, build_model, deviation):
    """keras-hub -> ours -> Hugging Face's names on disk -> ours: both tables, both ways."""
    settings = {
        "model_type": "bert",
        "vocab_size": 61,
        "hidden_size": 24,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 40,
        "max_position_embeddings": 20,
        "hidden_act": "gelu_new",
    }
    model = build_model(convert_config(settings), 3)
    assign(addresses(model), KerasHubSource(hub_backbone), bert.KERAS_HUB, optional="head/.*")
    tensors = dict(
        bert.HUGGING_FACE.to_source(address, keras.ops.convert_to_numpy(variable), 4, prefix="bert.")
        for address, variable in addresses(model).items()
        if not address.startswith("head/")
    )
    again = build_model(convert_config(settings), 3)
    load_preset(write_folder(settings, tensors)).load_into(again, optional="head/.*")
    inputs = _hub_inputs()
    assert deviation(again(inputs), _hub_reference(hub_backbone, inputs), inputs["padding_mask"]) < TOLERANCE


def test_keras_hub_round_trip_is_bit_equal(hub_backbone, build_model):
    source = KerasHubSource(hub_backbone)
    config = TransformerConfig(
        "bert",
        vocabulary_size=61,
        num_layers=2,
        num_heads=4,
        hidden_dim=24,
        intermediate_dim=40,
        max_sequence_length=20,
    )
    model = build_model(config, 3)
    assign(addresses(model), source, bert.KERAS_HUB, optional="head/.*")
    back = ArraySource(
        dict(
            bert.KERAS_HUB.to_source(address, keras.ops.convert_to_numpy(variable), 4)
            for address, variable in addresses(model).items()
            if not address.startswith("head/")
        )
    )
    assert sorted(back.keys()) == sorted(source.keys())
    for key in source.keys():
        np.testing.assert_array_equal(back.get(key), source.get(key))


@pytest.mark.live
@pytest.mark.parametrize("activation", ["gelu", "gelu_new", "gelu_pytorch_tanh", "relu", "silu"])
def test_live_hugging_face(activation, generate_bert, tmp_path, build_model, deviation):
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    reference = generate_bert.build(seed=11, hidden_act=activation, layer_norm_eps=1e-6, hidden_size=32)
    folder = tmp_path / "saved"
    reference.save_pretrained(folder)
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"] + [f"piece{i}" for i in range(56)]
    (folder / "vocab.txt").write_text("\n".join(pieces) + "\n", encoding="utf-8")
    preset = load_preset(folder)
    assert preset.labels == ("LABEL_0", "LABEL_1", "LABEL_2")
    model = build_model(preset.config, 3)
    preset.load_into(model)
    for lengths in generate_bert.LENGTHS.values():
        inputs = generate_bert.batch(lengths, seed=1)
        assert (
            deviation(model(inputs), generate_bert.outputs(reference, inputs), inputs["padding_mask"])
            < TOLERANCE
        )
