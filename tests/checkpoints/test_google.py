"""Google's releases: tiny random ones are written under the names of the real ones, and loaded back."""

import dataclasses
import json

import numpy as np
import pytest
import tensorflow as tf

from tftransformer import patterns
from tftransformer.checkpoints.assign import stored_addresses
from tftransformer.checkpoints.google import expand, guess_lowercase, load_tensorflow_folder, read_tensorflow_tokenizer
from tftransformer.checkpoints.rules import Table, to_source, transform_of
from tftransformer.checkpoints.sources import open_weights
from tftransformer.config import TransformerConfig
from tftransformer.errors import TransformerError
from tftransformer.models.families import families_of
from tftransformer.models.shapes import encoder_shapes
from tftransformer.text.sentencepiece_model import PieceType, UnigramModel, model_bytes

D, HEADS, LAYERS = 8, 2, 2
CONFIG = TransformerConfig(
    "bert",
    vocabulary_size=23,
    num_layers=LAYERS,
    hidden_dim=D,
    num_heads=HEADS,
    intermediate_dim=12,
    max_sequence_length=10,
    activation="gelu_tanh",
)
SETTINGS = {
    "vocab_size": 23,
    "hidden_size": D,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS,
    "intermediate_size": 12,
    "max_position_embeddings": 10,
    "type_vocab_size": 2,
    "hidden_act": "gelu",
    "hidden_dropout_prob": 0.1,
    "attention_probs_dropout_prob": 0.1,
    "initializer_range": 0.02,
}
VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"] + [f"piece{i}" for i in range(18)]
POOLER = {"pooler/dense/kernel": (D, D), "pooler/dense/bias": (D,)}
GOOGLE = {name: family.google for name, family in families_of("google").items()}
BERT_1 = GOOGLE["bert"].table


def garden(root, outer_pooler=False):
    """Model Garden's table, with one place of the pooler, so that there is one name to write."""
    table = expand(GOOGLE["bert"].model_garden, LAYERS, root)
    first, last = (0, 1) if outer_pooler else (1, None)
    rules = [
        dataclasses.replace(rule, names=rule.names[first:last]) if "pooler" in rule.address else rule
        for rule in table.rules
    ]
    return dataclasses.replace(table, rules=tuple(rules))


GARDEN = garden("encoder/")


def numbers(config=CONFIG, **more):
    """Random values of every variable by our address; `more` adds shapes."""
    rng = np.random.default_rng(0)
    shapes = {**encoder_shapes(config), **POOLER, **more}
    return {address: rng.normal(size=shape).astype("float32") for address, shape in shapes.items()}


def save(prefix, tensors):
    tf.raw_ops.SaveV2(
        prefix=str(prefix),
        tensor_names=list(tensors),
        shape_and_slices=[""] * len(tensors),
        tensors=[tf.constant(value) for value in tensors.values()],
    )


def write(folder, tensors, settings=SETTINGS, vocabulary=VOCABULARY, file="bert_config.json"):
    folder.mkdir(exist_ok=True)
    if settings is not None:
        (folder / file).write_text(json.dumps(settings))
    (folder / "vocab.txt").write_text("".join(f"{piece}\n" for piece in vocabulary))
    save(folder / "bert_model.ckpt", tensors)
    return folder


def as_stored(table: Table, values):
    return dict(to_source(table, address, value, HEADS) for address, value in values.items())


def refusal(folder, **options):
    with pytest.raises(TransformerError) as caught:
        load_tensorflow_folder(folder, "x", **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def assert_loads(preset, values):
    encoder = preset.build_encoder()
    for address, variable in patterns.addresses(encoder).items():
        np.testing.assert_array_equal(variable.numpy(), values[address], err_msg=address)
    return encoder


# BERT, TensorFlow 1


# Written by hand, because a table that swaps two names would write and read its own mistake.
BLOCK_1 = {
    "attention/query": "layer_1/attention/self/query",
    "attention/key": "layer_1/attention/self/key",
    "attention/value": "layer_1/attention/self/value",
    "attention/output": "layer_1/attention/output/dense",
    "attention_norm": "layer_1/attention/output/LayerNorm",
    "feed_forward/intermediate": "layer_1/intermediate/dense",
    "feed_forward/output": "layer_1/output/dense",
    "feed_forward_norm": "layer_1/output/LayerNorm",
}
GROUP_1 = {
    "attention/query": "group_1/inner_group_0/attention_1/self/query",
    "attention/key": "group_1/inner_group_0/attention_1/self/key",
    "attention/value": "group_1/inner_group_0/attention_1/self/value",
    "attention/output": "group_1/inner_group_0/attention_1/output/dense",
    "attention_norm": "group_1/inner_group_0/LayerNorm",
    "feed_forward/intermediate": "group_1/inner_group_0/ffn_1/intermediate/dense",
    "feed_forward/output": "group_1/inner_group_0/ffn_1/intermediate/output/dense",
    "feed_forward_norm": "group_1/inner_group_0/LayerNorm_1",
}
GARDEN_BLOCK_1 = {
    "attention/query": "layer_with_weights-5/_attention_layer/_query_dense",
    "attention/key": "layer_with_weights-5/_attention_layer/_key_dense",
    "attention/value": "layer_with_weights-5/_attention_layer/_value_dense",
    "attention/output": "layer_with_weights-5/_attention_layer/_output_dense",
    "attention_norm": "layer_with_weights-5/_attention_layer_norm",
    "feed_forward/intermediate": "layer_with_weights-5/_intermediate_dense",
    "feed_forward/output": "layer_with_weights-5/_output_dense",
    "feed_forward_norm": "layer_with_weights-5/_output_layer_norm",
}
EMBEDDINGS = {"token": "word_embeddings", "position": "position_embeddings", "segment": "token_type_embeddings"}


@pytest.mark.parametrize(
    ("table", "root", "block", "suffix"),
    [
        (BERT_1, "bert/encoder/", BLOCK_1, ""),
        (GOOGLE["electra"].table, "electra/encoder/", BLOCK_1, ""),
        (GOOGLE["albert"].table, "bert/encoder/transformer/", GROUP_1, ""),
        (GARDEN, "encoder/", GARDEN_BLOCK_1, "/.ATTRIBUTES/VARIABLE_VALUE"),
    ],
)
def test_names(table, root, block, suffix):
    for ours, theirs in block.items():
        for part in ("gamma", "beta") if ours.endswith("norm") else ("kernel", "bias"):
            assert table.names(f"encoder_block_1/{ours}/{part}")[0] == f"{root}{theirs}/{part}{suffix}"
    for ours, theirs in EMBEDDINGS.items():
        if table is not GARDEN:
            name = f"{root.split('/')[0]}/embeddings/{theirs}"
            assert table.names(f"embeddings/{ours}/embeddings") == (name,)


def test_a_release_of_the_first_generation(tmp_path):
    values = numbers()
    stored = as_stored(BERT_1, values)
    extra = {
        "cls/predictions/output_bias": np.zeros(23, "float32"),
        "cls/seq_relationship/output_weights": np.zeros((2, D), "float32"),
        "global_step": np.int64(5),
        "bert/pooler/dense/kernel/adam_m": np.zeros((D, D), "float32"),
        "bert/pooler/dense/kernel/adam_v": np.zeros((D, D), "float32"),
    }
    folder = write(tmp_path / "uncased_L-2_H-8_A-2", {**stored, **extra})
    preset = load_tensorflow_folder(folder, str(folder))
    assert (preset.origin, preset.pooler, preset.labels) == ("tensorflow", True, None)
    assert preset.config == CONFIG
    assert preset.tokenizer.vocabulary == tuple(VOCABULARY) and preset.tokenizer.settings["lowercase"] is True
    encoder = assert_loads(preset, values)
    ignored = preset.load_into(encoder).ignored
    assert ignored["global_step"] == "the state of the training, no weight"
    assert "optimizer" in ignored["bert/pooler/dense/kernel/adam_m"]
    # Writing back gives every tensor bit for bit.
    for address, variable in patterns.addresses(encoder).items():
        name, value = to_source(preset.table, address, variable.numpy(), HEADS)
        np.testing.assert_array_equal(value, preset.source.get(name))


def reference(values, ids):
    """BERT in NumPy, as Google's modeling.py computes it, for one row without padding."""

    def norm(x, name):
        centered = x - x.mean(-1, keepdims=True)
        scaled = centered / np.sqrt((centered**2).mean(-1, keepdims=True) + 1e-12)
        return scaled * values[f"{name}/gamma"] + values[f"{name}/beta"]

    def dense(x, name):
        return x @ values[f"{name}/kernel"] + values[f"{name}/bias"]

    def heads(x):
        return x.reshape(len(ids), HEADS, -1).transpose(1, 0, 2)

    x = values["embeddings/token/embeddings"][ids] + values["embeddings/position/embeddings"][: len(ids)]
    x = norm(x + values["embeddings/segment/embeddings"][0], "embeddings/norm")
    for i in range(LAYERS):
        block = f"encoder_block_{i}"
        query, key, value = (heads(dense(x, f"{block}/attention/{part}")) for part in ("query", "key", "value"))
        scores = query @ key.transpose(0, 2, 1) / np.sqrt(D / HEADS)
        scores = np.exp(scores - scores.max(-1, keepdims=True))
        mixed = (scores / scores.sum(-1, keepdims=True)) @ value
        mixed = mixed.transpose(1, 0, 2).reshape(len(ids), D)
        x = norm(x + dense(mixed, f"{block}/attention/output"), f"{block}/attention_norm")
        inner = dense(x, f"{block}/feed_forward/intermediate")
        inner = inner * 0.5 * (1 + np.tanh(np.sqrt(2 / np.pi) * (inner + 0.044715 * inner**3)))
        x = norm(x + dense(inner, f"{block}/feed_forward/output"), f"{block}/feed_forward_norm")
    return x


def test_it_computes_what_googles_code_computes(tmp_path):
    values = numbers()
    preset = load_tensorflow_folder(write(tmp_path / "a", as_stored(BERT_1, values)), "a")
    ids = np.array([2, 7, 11, 3, 19])
    row = ids[None]
    found = preset.build_encoder()({"token_ids": row, "padding_mask": row * 0 + 1, "segment_ids": row * 0})
    expected = reference({name: value.astype("float64") for name, value in values.items()}, ids)
    np.testing.assert_allclose(found.numpy()[0], expected, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize(("classes", "labels"), [(3, ("LABEL_0", "LABEL_1", "LABEL_2")), (1, None)])
def test_a_classifiers_head_comes_along(classes, labels, tmp_path):
    values = numbers(**{"head/logits/kernel": (D, classes), "head/logits/bias": (classes,)})
    stored = as_stored(BERT_1, values)
    assert stored["output_weights"].shape == (classes, D)
    preset = load_tensorflow_folder(write(tmp_path / "a", stored), "a")
    assert preset.labels == labels
    if labels:
        kernel = transform_of(preset.table.rule("head/logits/kernel")).forward(preset.source.get("output_weights"))
        np.testing.assert_array_equal(kernel, values["head/logits/kernel"])


def test_of_several_checkpoints_the_latest_is_taken(tmp_path):
    folder = write(tmp_path / "a", as_stored(BERT_1, numbers()))
    save(folder / "model.ckpt-9", {"b": np.ones(2, "float32")})
    assert "must hold one TensorFlow checkpoint" in refusal(folder)
    (folder / "checkpoint").write_text('model_checkpoint_path: "/gone/on/another/machine/model.ckpt-9"\n')
    assert open_weights(folder).keys() == ("b",)
    (folder / "checkpoint").write_text('model_checkpoint_path: "../../etc/passwd"\n')
    assert "must hold one TensorFlow checkpoint" in refusal(folder)


# BERT, Model Garden


def write_garden(folder, values, table=GARDEN, **extra):
    return write(folder, {**as_stored(table, values), "_CHECKPOINTABLE_OBJECT_GRAPH": b"graph", **extra})


def test_names_of_model_garden():
    # As listed in keras-hub's tools/checkpoint_conversion/bert_base_cased.ipynb, with 2 layers of 2 heads.
    stored = {name: value.shape for name, value in as_stored(GARDEN, numbers()).items()}
    value = "/.ATTRIBUTES/VARIABLE_VALUE"
    for name, shape in {
        "encoder/layer_with_weights-0/embeddings": (23, D),
        "encoder/layer_with_weights-1/embeddings": (10, D),
        "encoder/layer_with_weights-2/embeddings": (2, D),
        "encoder/layer_with_weights-3/gamma": (D,),
        "encoder/layer_with_weights-5/_attention_layer/_key_dense/bias": (HEADS, D // HEADS),
        "encoder/layer_with_weights-5/_attention_layer/_key_dense/kernel": (D, HEADS, D // HEADS),
        "encoder/layer_with_weights-5/_attention_layer/_output_dense/bias": (D,),
        "encoder/layer_with_weights-5/_attention_layer/_output_dense/kernel": (HEADS, D // HEADS, D),
        "encoder/layer_with_weights-5/_attention_layer_norm/beta": (D,),
        "encoder/layer_with_weights-5/_intermediate_dense/kernel": (D, 12),
        "encoder/layer_with_weights-5/_output_dense/kernel": (12, D),
        "encoder/layer_with_weights-5/_output_layer_norm/gamma": (D,),
        "encoder/layer_with_weights-6/kernel": (D, D),
    }.items():
        assert stored.pop(name + value) == shape
    assert len(stored) == len(encoder_shapes(CONFIG)) + 2 - 13


def test_a_checkpoint_of_model_garden(tmp_path):
    values = numbers()
    preset = load_tensorflow_folder(write_garden(tmp_path / "cased_L-2", values), "here")
    assert preset.config == CONFIG and preset.pooler and preset.tokenizer.settings["lowercase"] is False
    encoder = assert_loads(preset, values)
    for address, variable in patterns.addresses(encoder).items():
        name, value = to_source(preset.table, address, variable.numpy(), HEADS)
        np.testing.assert_array_equal(value, preset.source.get(name))


def test_a_saved_object_with_the_names_of_attributes(tmp_path):
    """What tf.train.Checkpoint writes for modules whose attributes are called as the later encoder's."""
    values = numbers()

    def module(**parts):
        new = tf.Module()
        for name, part in parts.items():
            setattr(new, name, part)
        return new

    def layer(address, heads=""):
        kernel, bias = values[f"{address}/kernel"], values[f"{address}/bias"]
        if heads == "last":
            kernel, bias = kernel.reshape(D, HEADS, -1), bias.reshape(HEADS, -1)
        if heads == "first":
            kernel = kernel.reshape(HEADS, -1, D)
        return module(kernel=tf.Variable(kernel), bias=tf.Variable(bias))

    def norm(address):
        return module(**{part: tf.Variable(values[f"{address}/{part}"]) for part in ("gamma", "beta")})

    def table(part):
        return module(embeddings=tf.Variable(values[f"embeddings/{part}/embeddings"]))

    def block(i):
        block = f"encoder_block_{i}"
        attention = module(
            _query_dense=layer(f"{block}/attention/query", "last"),
            _key_dense=layer(f"{block}/attention/key", "last"),
            _value_dense=layer(f"{block}/attention/value", "last"),
            _output_dense=layer(f"{block}/attention/output", "first"),
        )
        return module(
            _attention_layer=attention,
            _attention_layer_norm=norm(f"{block}/attention_norm"),
            _intermediate_dense=layer(f"{block}/feed_forward/intermediate"),
            _output_dense=layer(f"{block}/feed_forward/output"),
            _output_layer_norm=norm(f"{block}/feed_forward_norm"),
        )

    encoder = module(
        _embedding_layer=table("token"),
        _position_embedding_layer=table("position"),
        _type_embedding_layer=table("segment"),
        _embedding_norm_layer=norm("embeddings/norm"),
        _transformer_layers=[block(i) for i in range(LAYERS)],
        _pooler_layer=layer("pooler/dense"),
    )
    folder = write(tmp_path / "a", {"unused": np.ones(1, "float32")})
    for path in folder.glob("bert_model.ckpt*"):
        path.unlink()
    heads = module(masked_lm=module(bias=tf.Variable(np.ones(3, "float32"))))
    tf.train.Checkpoint(encoder=encoder, heads=heads).save(str(folder / "ckpt"))
    preset = load_tensorflow_folder(folder, "a")
    assert preset.pooler
    ignored = preset.load_into(assert_loads(preset, values)).ignored
    assert ignored["heads/masked_lm/bias/.ATTRIBUTES/VARIABLE_VALUE"] == "outside of the encoder: heads, training"


def test_the_pooler_beside_the_encoder(tmp_path):
    # As in keras-hub's bert_base_uncased.ipynb: the older attention, and the next-sentence head's pooler.
    values = numbers()
    table = garden("model/", outer_pooler=True)
    stored = {
        name.replace("_attention_layer/_output_dense", "_attention_output_dense"): value
        for name, value in as_stored(table, values).items()
    }
    slot = "model/layer_with_weights-0/embeddings/.OPTIMIZER_SLOT/optimizer/m/.ATTRIBUTES/VARIABLE_VALUE"
    unused = "model/layer_with_weights-6/kernel/.ATTRIBUTES/VARIABLE_VALUE"
    extra = {slot: np.zeros(3, "float32"), unused: np.zeros((D, D), "float32")}
    preset = load_tensorflow_folder(write(tmp_path / "a", {**stored, **extra}), "a")
    assert preset.pooler
    pooler = stored_addresses(preset.source, preset.table)["pooler/dense/kernel"]
    assert (pooler,) == ("next_sentence..pooler_dense/kernel/.ATTRIBUTES/VARIABLE_VALUE",)
    ignored = preset.load_into(assert_loads(preset, values)).ignored
    assert "optimizer" in ignored[slot] and "pooler" in ignored[unused]


def test_the_depth_must_be_the_weights(tmp_path):
    folder = write_garden(tmp_path / "a", numbers())
    for layers in (1, 3):
        (folder / "bert_config.json").write_text(json.dumps({**SETTINGS, "num_hidden_layers": layers}))
        assert f"num_hidden_layers={layers}, and the weights have 2 blocks" in refusal(folder)
    (folder / "bert_config.json").rename(folder / "albert_config.json")
    assert "Model Garden's albert; only its BERT is read" in refusal(folder)


# ALBERT and ELECTRA


def test_electras_discriminator(tmp_path):
    config = CONFIG.replace(family="electra", activation="gelu", embedding_dim=4, hidden_dim=128, head_dim=None)
    values = {address: value for address, value in numbers(config).items() if not address.startswith("pooler")}
    stored = as_stored(GOOGLE["electra"].table, values)
    assert "electra/embeddings_project/kernel" in stored
    extra = {
        "generator/encoder/layer_0/attention/self/query/kernel": np.zeros((4, 4), "float32"),
        "generator_predictions/dense/bias": np.zeros(4, "float32"),
        "discriminator_predictions/dense/bias": np.zeros(4, "float32"),
        "global_step": np.int64(1),
    }
    folder = write(tmp_path / "electra", {**stored, **extra}, settings=None)
    preset = load_tensorflow_folder(folder, "electra")
    assert preset.config == config and preset.tokenizer.settings["lowercase"] is True
    assert_loads(preset, values)


def test_albert(tmp_path):
    config = CONFIG.replace(
        family="albert",
        embedding_dim=4,
        num_layers=4,
        num_decoder_layers=4,
        num_distinct_blocks=2,
        dropout=0.0,
        attention_dropout=0.0,
    )
    values = numbers(config)
    stored = as_stored(GOOGLE["albert"].table, values)
    assert "bert/encoder/embedding_hidden_mapping_in/kernel" in stored
    settings = {
        **SETTINGS,
        "embedding_size": 4,
        "num_hidden_layers": 4,
        "num_hidden_groups": 2,
        "inner_group_num": 1,
        "down_scale_factor": 1,
        "net_structure_type": 0,
        "hidden_dropout_prob": 0,
        "attention_probs_dropout_prob": 0,
    }
    folder = write(tmp_path / "albert", stored, settings, file="albert_config.json")
    (folder / "vocab.txt").unlink()
    (folder / "30k-clean.model").write_bytes(sentencepiece_model())
    preset = load_tensorflow_folder(folder, "albert_base")
    assert preset.config == config and preset.pooler
    assert_loads(preset, values)
    tokenizer = preset.tokenizer.build()
    assert [tokenizer.id_to_token(i) for i in tokenizer.encode("HELLO")] == ["▁hello"]
    assert (tokenizer.start_id, tokenizer.separator_id, tokenizer.pair_separators) == (2, 3, 1)


def sentencepiece_model():
    pieces = ("<pad>", "<unk>", "[CLS]", "[SEP]", "[MASK]", "▁hello", "▁", "h")
    kinds = (PieceType.CONTROL, PieceType.UNKNOWN, *[PieceType.CONTROL] * 2, PieceType.USER_DEFINED)
    types = (*kinds, *[PieceType.NORMAL] * 3)
    return model_bytes(UnigramModel(pieces, tuple(-float(i) for i in range(len(pieces))), types))


def test_vocabularies_of_other_names(tmp_path):
    (tmp_path / "vocab_chinese.txt").write_text("[PAD]\n[UNK]\n")
    assert read_tensorflow_tokenizer(tmp_path, "chinese").files == {"vocab.txt": b"[PAD]\n[UNK]\n"}
    (tmp_path / "30k-clean.model").write_bytes(sentencepiece_model())
    with pytest.raises(TransformerError, match="it has 30k-clean.model, vocab_chinese.txt"):
        read_tensorflow_tokenizer(tmp_path, "x")
    (tmp_path / "vocab_chinese.txt").unlink()
    (tmp_path / "30k-clean.model").write_bytes(sentencepiece_model()[:-3])
    with pytest.raises(TransformerError, match="30k-clean.model"):
        read_tensorflow_tokenizer(tmp_path, "x")
    with (tmp_path / "vocab.txt").open("wb") as file:
        file.truncate(2**27)
    with pytest.raises(TransformerError, match="vocab.txt must be at most 67108864 bytes"):
        read_tensorflow_tokenizer(tmp_path, "x")


# Lower case


@pytest.mark.parametrize(
    ("name", "piece", "lowercase"),
    [
        ("uncased_L-12_H-768_A-12", "A", True),
        ("CASED_L-12", "a", False),
        ("multi_cased_L-12_H-768_A-12", "a", False),
        ("chinese_L-12_H-768_A-12", "a", True),
        ("wwm", "Apple", False),
        ("wwm", "[unused1]", True),
        ("wwm", "É", False),
    ],
)
def test_lower_case_is_guessed(name, piece, lowercase):
    assert guess_lowercase(name, ("[PAD]", "[UNK]", piece)) is lowercase


def test_only_the_last_part_of_a_path_says_uncased(tmp_path):
    (tmp_path / "uncased").mkdir()
    folder = write(tmp_path / "uncased" / "cased_L-2", as_stored(BERT_1, numbers()))
    assert load_tensorflow_folder(folder, str(folder)).tokenizer.settings["lowercase"] is False


def test_lower_case_can_be_said(tmp_path):
    folder = write(tmp_path / "uncased", as_stored(BERT_1, numbers()))
    assert load_tensorflow_folder(folder, "x", lowercase=False).tokenizer.settings["lowercase"] is False


# What does not load


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"hidden_act": "tanh"}, "hidden_act must be one of gelu, relu; got 'tanh'"),
        ({"hidden_act": 5}, "hidden_act must be one of gelu, relu; got 5"),
        ({"hidden_size": 10**9}, "that do not fit"),
        ({"num_hidden_layers": 10**9}, "the number of layers must be at most 1000; got 1000000000"),
        ({"num_hidden_layers": 3}, "16 missing in it: encoder_block_2/"),
        ({"vocab_size": 22}, "embeddings/token/embeddings is (23, 8) there and (22, 8) in the model"),
        ({"num_attention_heads": 3}, "hidden_dim must be a multiple of num_heads"),
        ({"embedding_size": 4}, "embedding_size must be hidden_size in a BERT; got 4"),
    ],
)
def test_settings_that_do_not_load(settings, message, tmp_path):
    stored = as_stored(BERT_1, numbers())
    assert message in refusal(write(tmp_path / "a", stored, {**SETTINGS, **settings}))


def test_incomplete_folders(tmp_path):
    folder = write(tmp_path / "a", as_stored(BERT_1, numbers()), vocabulary=VOCABULARY + ["x"])
    assert "it has 24 pieces and the embeddings 23 rows" in refusal(folder)
    (folder / "vocab.txt").unlink()
    assert "must have a vocab.txt or one SentencePiece .model; it has none of them" in refusal(folder)
    (folder / "bert_config.json").write_text(json.dumps({"vocab_size": 23}))
    assert "must have hidden_size; it is missing" in refusal(folder)
    (folder / "bert_config.json").unlink()
    assert "must have its settings too: bert_config.json or albert_config.json" in refusal(folder)
    (folder / "bert_model.ckpt.index").unlink()
    assert "has no TensorFlow checkpoint" in refusal(folder)


def test_an_electra_without_its_tables(tmp_path):
    folder = write(tmp_path / "a", {"electra/x": np.ones(1, "float32")}, settings=None)
    assert "must have electra/encoder/layer_0/attention/self/query/kernel" in refusal(folder)
