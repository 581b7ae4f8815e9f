"""Descriptions: the figures are those of the model that is built, and everything said stands in the folder."""

import json

import numpy as np
import pytest

from tftransformer.checkpoints import load_preset
from tftransformer.checkpoints.adaptation import adapt
from tftransformer.checkpoints.describe import describe, find_licence
from tftransformer.errors import TransformerError

EMBEDDED = "bert_12x192_en_uncased"


def test_the_embedded_preset():
    description = describe(EMBEDDED)
    assert description.parameters == {"embeddings": 2545920, "blocks": 5338368, "total": 7884288}
    assert description.memory == {"float32": 4 * 7884288, "bfloat16": 2 * 7884288}
    assert (description.tokens, description.tokenizer) == (13000, "WordPiece, uncased")
    assert description.dtype == "float16" and set(description.files) == {"model.safetensors"}
    lines = str(description).splitlines()
    assert lines[0] == EMBEDDED and len(lines) <= 24
    assert "  layers      12 of width 192, 6 heads of 32, feed-forward 768, gelu" in lines
    assert (
        "  memory      31.5 MB in float32, 15.8 MB in bfloat16; to train all of it 126.1 MB and the activations"
        in lines
    )
    assert json.loads(json.dumps(description.to_dict()))["config"]["num_layers"] == 12


def test_a_hugging_face_folder_with_pooler_head_and_licence(folder):
    folder.add_head(3)
    folder.settings["id2label"] = {"0": "bad", "1": "fair", "2": "good"}
    path = folder.write()
    (path / "README.md").write_text("---\nlanguage: en\nlicense: apache-2.0\n---\n# Card\n", encoding="utf-8")
    description = describe(path)
    built = load_preset(path).build_encoder().count_params()
    counts = description.parameters
    assert counts["embeddings"] + counts["blocks"] == built
    assert counts["pooler"] == 8 * 8 + 8 and counts["head"] == 3 * 8 + 3
    assert counts["total"] == built + 72 + 27
    text = str(description)
    for line in (
        f"parameters  {counts['total']:,}: embeddings",
        "2 blocks 1,064 (532 each), pooler 72, head 27",
        "pooling     cls, with the dense layer of BERT behind it",
        "labels      3: bad, fair, good",
        "source      in Hugging Face's layout: model.safetensors, ",
        f"folder      {path}",
        "licence     apache-2.0 (README.md)",
    ):
        assert line in text, text


def test_weights_are_not_read(folder, monkeypatch):
    from tftransformer.checkpoints.sources import SafetensorsSource

    preset = load_preset(folder.write())
    monkeypatch.setattr(SafetensorsSource, "get", lambda *_: pytest.fail("a tensor was read"))
    assert describe(preset).parameters["total"] > 0
    assert describe(adapt(preset, layers=1)).parameters["blocks"] == 532


def test_our_own_folder_and_an_adapted_one(two_block_preset):
    description = describe(two_block_preset)
    assert description.origin == "tftransformer" and "saved by this project" in str(description)
    adapted = describe(adapt(load_preset(two_block_preset), layers="last:1", max_sequence_length=64))
    assert adapted.parameters["blocks"] * 2 == description.parameters["blocks"]
    assert "adapted     layers: 1 of 2, the blocks 1" in str(adapted)
    assert adapted.files == description.files


def test_what_is_in_memory_has_no_folder(folder):
    import dataclasses

    from tftransformer.checkpoints.sources import ArraySource

    preset = load_preset(folder.write())
    arrays = {key: preset.source.get(key) for key in preset.source.keys()}
    loose = dataclasses.replace(preset, source=ArraySource(arrays), name="loose", origin="keras_hub")
    description = describe(loose)
    assert description.folder is None and description.licence is None and description.files == {}
    assert "source      loaded through keras-hub, in memory as float32" in str(description)
    assert "licence     not stated" in str(description)


def test_the_words_for_tokenizers_and_shapes(folder):
    import dataclasses

    preset = load_preset(folder.write())

    def with_tokenizer(**changes):
        tokenizer = dataclasses.replace(preset.tokenizer, **changes)
        return describe(dataclasses.replace(preset, tokenizer=tokenizer)).tokenizer

    assert with_tokenizer(settings={"lowercase": False}) == "WordPiece, cased"
    assert with_tokenizer(settings={"lowercase": True, "strip_accents": False}) == "WordPiece, uncased, accents kept"
    assert with_tokenizer(kind="byte_bpe", settings={}) == "byte-level BPE"
    assert "23 tokens;" in str(describe(preset))
    folder.vocabulary.pop()
    assert "22 tokens in 23 rows; WordPiece" in str(describe(folder.write()))


@pytest.mark.parametrize(
    ("files", "licence"),
    [
        ({}, None),
        ({"README.md": "# no front matter\nlicense: mit\n"}, None),
        ({"README.md": "---\nlicense:\n- mit\n- cc0-1.0\ntags: [x]\n---\n"}, "mit, cc0-1.0 (README.md)"),
        ({"README.md": '---\r\nlicense: "mit"\r\n---\r\n'}, "mit (README.md)"),
        ({"README.md": "---\nlicense:\n---\n", "LICENSE": "\n  Apache License\nVersion 2.0"}, "Apache License (LICENSE)"),
        ({"preset.json": '{"license": "cc-by-4.0"}', "LICENSE": "MIT"}, "cc-by-4.0 (preset.json)"),
        ({"preset.json": "{broken", "LICENSE.txt": "MIT\x1b[31m License"}, "MIT[31m License (LICENSE.txt)"),
        ({"LICENSE": "x" * 100}, "x" * 80 + "… (LICENSE)"),
    ],
)  # fmt: skip
def test_licences_are_read_never_guessed(tmp_path, files, licence):
    for name, text in files.items():
        (tmp_path / name).write_text(text, encoding="utf-8", newline="")
    assert find_licence(tmp_path) == licence


def test_unknown_names_have_near_misses():
    with pytest.raises(TransformerError, match=f"did you mean '{EMBEDDED}'"):
        describe("bert_12x192_en_uncase")


def test_shards_are_listed(folder):
    from safetensors.numpy import save_file

    path = folder.write()
    keys = sorted(folder.tensors)
    parts = {"model-1.safetensors": keys[::2], "model-2.safetensors": keys[1::2]}
    for name, part in parts.items():
        save_file({key: np.ascontiguousarray(folder.tensors[key]) for key in part}, str(path / name))
    index = {"weight_map": {key: name for name, part in parts.items() for key in part}}
    (path / "model.safetensors.index.json").write_text(json.dumps(index))
    whole = describe(path).parameters
    (path / "model.safetensors").unlink()
    description = describe(path)
    assert description.parameters == whole
    assert "2 files, model-1.safetensors to model-2.safetensors" in str(description)
    assert description.files == {name: (path / name).stat().st_size for name in parts}
