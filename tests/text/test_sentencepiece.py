"""SentencePiece ids and offsets against Hugging Face's: committed goldens, and live where transformers is installed."""

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
import sentencepiece_cases as cases
import sentencepiece_reference as reference
import tensorflow as tf
import tokenizer_cases

from tftransformer.errors import TransformerError
from tftransformer.text.sentencepiece import SentencePieceTokenizer
from tftransformer.text.sentencepiece_model import PieceType, UnigramModel, model_bytes
from tftransformer.text.spec import TokenizerSpec

GOLDENS = json.loads((cases.HERE / "sentencepiece_goldens.json").read_text())
families = pytest.mark.parametrize("family", list(cases.SETTINGS))
# By default the blocks where rules are many; all of them take long.
QUICK = [0x00, 0x01, 0x02, 0x0F]


def rows(tokenizer, texts):
    """[[id, start, end], ...] of each text."""
    found = (part.to_list() for part in tokenizer.tokenize_with_offsets(tf.constant(texts)))
    return [[list(token) for token in zip(*row, strict=True)] for row in zip(*found, strict=True)]


def small(pieces, **settings):
    """A model of <unk>, <pad>, <s>, </s>, <mask> and `pieces` with their scores."""
    control = ("<pad>", "<s>", "</s>", "<mask>")
    types = [PieceType.UNKNOWN, *[PieceType.CONTROL] * 4, *[PieceType.NORMAL] * len(pieces)]
    model = UnigramModel(("<unk>", *control, *pieces), (*[0.0] * 5, *pieces.values()), tuple(types))
    return SentencePieceTokenizer(model_bytes(model), **settings)


@families
def test_ids_and_offsets_equal_hugging_faces(family):
    found = rows(cases.tokenizer(family), cases.TEXTS)
    for text, row, expected in zip(cases.TEXTS, found, GOLDENS["texts"][family], strict=True):
        assert reference.compact(row) == expected, ascii(text[:100])


@families
def test_known_and_unknown_tokens_both_occur(family):
    unknown = cases.tokenizer(family).unknown_id
    ids = [token[0] for row in GOLDENS["texts"][family] if isinstance(row, list) for token in row]
    assert ids.count(unknown) > 20 and len(ids) - ids.count(unknown) > 300


@families
@pytest.mark.parametrize("block", QUICK)
def test_code_points_are_tokenized_as_by_hugging_face(family, block):
    found = rows(cases.tokenizer(family), cases.block_texts(block))
    assert reference.digest(found) == GOLDENS["blocks"][family][str(block)]


@pytest.mark.slow
@families
def test_every_code_point_is_tokenized_as_by_hugging_face(family):
    assert [int(block) for block in GOLDENS["blocks"][family]] == tokenizer_cases.BLOCKS
    for block, expected in GOLDENS["blocks"][family].items():
        assert reference.digest(rows(cases.tokenizer(family), cases.block_texts(int(block)))) == expected, block


@families
def test_bytes_that_are_not_utf8_are_decoded_with_replacement(family):
    assert rows(cases.tokenizer(family), tokenizer_cases.BYTES) == GOLDENS["bytes"][family]


@families
def test_a_text_alone_gives_what_it_gives_in_a_batch(family):
    tokenizer = cases.tokenizer(family)
    for text, expected in list(zip(cases.TEXTS, GOLDENS["texts"][family], strict=True))[::5]:
        if isinstance(expected, list):
            assert tokenizer.encode(text) == [token[0] for token in expected]


def test_special_tokens_are_never_read_from_a_text():
    for family in cases.SETTINGS:
        tokenizer = cases.tokenizer(family)
        special = {tokenizer.start_id, tokenizer.pad_id, tokenizer.separator_id, tokenizer.mask_id}
        assert special.isdisjoint(tokenizer.encode(" ".join(cases.SPECIAL[family])))


def test_empty_batch_and_texts_without_words():
    tokenizer = cases.tokenizer("albert")
    found = tokenizer.tokenize(tf.constant([], tf.string))
    assert found.to_list() == [] and found.dtype == tf.int32
    assert tokenizer.tokenize(tf.constant(["", " ", "\u0301"])).to_list() == [[], [], []]


def test_of_equally_probable_segmentations_the_last_piece_is_longest():
    tokenizer = small({"a": -1.0, "b": -1.0, "ab": -1.0, "ba": -1.0}, add_prefix_space=False)
    assert [tokenizer.id_to_token(i) for i in tokenizer.encode("aba")] == ["a", "ba"]


def test_scores_add_up_in_64_bits_word_by_word():
    # In 32 bits, the difference between the two ways to write "ab" is lost behind a long text.
    tokenizer = small({"a": -1000.0, "b": -1.0, "ab": -1000.9999, "\u2581": -1.0})
    text = "a " * 500 + "ab" + "a" * 500
    assert tokenizer.encode(text).count(tokenizer.token_to_id("ab")) == 1
    assert tokenizer.token_to_id("b") not in tokenizer.encode(text)


def test_neighbouring_unknown_characters_are_one_token_within_a_word():
    assert rows(small({"a": -1.0}, add_prefix_space=False), ["xyaxy xy <unk>x"]) == [
        [[0, 0, 2], [5, 2, 3], [0, 3, 5], [0, 6, 8], [0, 9, 15]]
    ]


def test_words_can_begin_without_the_sign():
    tokenizer = small({"\u2581a": -1.0, "a": -2.0}, add_prefix_space=False)
    assert tokenizer.encode("a \u2581a") == [6, 5]


def test_settings_and_files_round_trip(family="albert"):
    tokenizer = cases.tokenizer(family)
    spec = TokenizerSpec.from_config(json.loads(json.dumps(tokenizer.spec().to_config())))
    assert spec.vocabulary == tokenizer.vocabulary == cases.model(family).pieces
    again = spec.build()
    assert again.get_config() == tokenizer.get_config()
    assert rows(again, cases.TEXTS[3:8]) == rows(tokenizer, cases.TEXTS[3:8])


def test_decode_gives_the_text_back():
    tokenizer = cases.tokenizer("xlm_roberta")
    text = "The quick brown fox jumps over the lazy dog."
    assert tokenizer.decode(tokenizer.encode(text)) == text
    assert tokenizer.decode([]) == ""
    with pytest.raises(TransformerError, match="token_id must be between 0 and"):
        tokenizer.decode([10**6])


@pytest.mark.slow
def test_in_tf_data():
    tokenize = cases.tokenizer("xlm_roberta").tokenize
    dataset = tf.data.Dataset.from_tensor_slices(cases.TEXTS).batch(40).map(tokenize)
    found = [ids for batch in dataset for ids in batch.to_list()]
    for ids, expected in zip(found, GOLDENS["texts"]["xlm_roberta"], strict=True):
        assert not isinstance(expected, list) or ids == [token[0] for token in expected]


@pytest.mark.slow
def test_in_a_saved_model_in_a_process_without_this_package(tmp_path):
    tokenizer = cases.tokenizer("albert")

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
    def serve(text):
        tokens = tokenizer.tokenize_with_offsets(text)
        return {"ids": tokens.ids.values, "starts": tokens.starts.values, "row_splits": tokens.ids.row_splits}

    tf.saved_model.save(tf.Module(), str(tmp_path / "model"), signatures=serve)
    (tmp_path / "texts.json").write_text(json.dumps(cases.TEXTS[:30]))
    program = """
import json, sys
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2
core = set(dir(tf.raw_ops))
folder = sys.argv[1]
data = open(folder + "/model/saved_model.pb", "rb").read()
graph = saved_model_pb2.SavedModel.FromString(data).meta_graphs[0].graph_def
ops = {n.op for n in graph.node} | {n.op for f in graph.library.function for n in f.node_def}
model = tf.saved_model.load(folder + "/model")
out = model.signatures["serving_default"](tf.constant(json.load(open(folder + "/texts.json"))))
ids, starts = (tf.RaggedTensor.from_row_splits(out[n], out["row_splits"]).to_list() for n in ("ids", "starts"))
bad = sorted(op for op in ops if "PyFunc" in op) + [m for m in sys.modules if m.startswith("tftransformer")]
functions = {f.signature.name for f in graph.library.function}
print(json.dumps([ids, starts, bad, sorted(ops - core - functions)]))
"""
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    ids, starts, bad, foreign = json.loads(done.stdout.splitlines()[-1])
    expected = rows(tokenizer, cases.TEXTS[:30])
    assert ids == [[token[0] for token in row] for row in expected]
    assert starts == [[token[1] for token in row] for row in expected]
    assert bad == [] and foreign == []


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"lowercase": 1}, "lowercase must be True or False; got 1"),
        ({"pair_separators": 3}, "pair_separators must be 1 or 2; got 3"),
        ({"mask_token": "<maske>"}, "vocabulary must hold the special tokens; <maske> missing of 6 tokens"),
        ({"unknown_token": "a"}, "unknown_token must be the model's, '<unk>'; got 'a'"),
    ],
)
def test_settings_are_checked(settings, message):
    with pytest.raises(TransformerError) as error:
        small({"a": -1.0}, **settings)
    assert str(error.value) == message


def test_texts_have_one_dimension_and_settings_are_known():
    with pytest.raises(TransformerError, match="texts must have one dimension"):
        cases.tokenizer("albert").tokenize(tf.constant([["a"]]))
    with pytest.raises(TransformerError, match="'lowercased' is not known; did you mean 'lowercase'"):
        SentencePieceTokenizer.from_files({"lowercased": True}, {"spiece.model": cases.model_file("albert")})


@pytest.mark.live
@families
def test_live_random_texts_equal_hugging_faces(family):
    pytest.importorskip("transformers")
    draw = random.Random(0)
    odd = "\0\t\n\r '`\u2581\u200b\u200c\u200d\xad©™ℹ👨🏻\ufe0f\u0301\u0302\u0308\u0344\u0915\u094d\u093c\u0958\u0600\u06dd"
    odd += (
        "\u1100\u1161\u11a8\uac00\uac01ﬁ\ufdfa🇩\uff9e\uff76\ufeff\ufffd\u3000…aeAİΣéṩ\u05d0\U0001d160\U000e0001\x7f\x01"
    )
    pool = odd * 40 + "".join(map(chr, range(1, 0x3000)))
    texts = ["".join(draw.choices(pool, k=draw.randint(1, 24))) for _ in range(20_000)]
    encode = reference.encoder(family)
    for start in range(0, len(texts), 1000):
        part = texts[start : start + 1000]
        for text, found, expected in zip(part, rows(cases.tokenizer(family), part), encode(part), strict=True):
            assert found == expected, ascii(text)


@pytest.mark.live
@families
def test_live_multilingual_texts_equal_hugging_faces(family):
    pytest.importorskip("transformers")
    folder = os.environ.get("TFTRANSFORMER_TEXTS")
    if not folder:
        pytest.skip("TFTRANSFORMER_TEXTS names no folder of texts")
    files = [path for path in sorted(Path(folder).rglob("*.[tc]sv"))]
    assert files, f"{folder} holds no .tsv or .csv"
    encode = reference.encoder(family)
    for path in files:
        lines = [line for line in path.read_text("utf-8", "replace").split("\n")[:200] if line]
        for text, found, expected in zip(lines, rows(cases.tokenizer(family), lines), encode(lines), strict=True):
            assert found == expected, f"{path.name}: {ascii(text)}"
