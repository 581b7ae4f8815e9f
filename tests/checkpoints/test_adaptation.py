"""Checkpoints in another structure: what stays is bit-equal, what is new is what the documentation says."""

import dataclasses

import numpy as np
import pytest

from tftransformer.checkpoints.adaptation import adapt, append_mean_rows, interpolate_rows, resize_positions
from tftransformer.checkpoints.assign import make_plan, stored_addresses
from tftransformer.checkpoints.preset import Preset
from tftransformer.checkpoints.rules import OWN, to_source, transform_of
from tftransformer.checkpoints.sources import ArraySource
from tftransformer.config import TransformerConfig
from tftransformer.errors import TransformerError
from tftransformer.models.families import FAMILIES
from tftransformer.models.shapes import encoder_shapes
from tftransformer.patterns import addresses
from tftransformer.text.spec import TokenizerSpec
from tftransformer.text.vocabulary import vocabulary_bytes

PIECES = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "spec", "##t", "##ral", "c", "##o", "19", "-")
SIZES = {"vocabulary_size": 16, "hidden_dim": 8, "num_heads": 2, "intermediate_dim": 12, "max_sequence_length": 6}
TOKEN = "embeddings/token/embeddings"
POSITION = "embeddings/position/embeddings"


class CountingSource(ArraySource):
    """Notes what was read."""

    def __init__(self, arrays):
        super().__init__(arrays)
        self.read = []

    def get(self, key):
        self.read.append(key)
        return super().get(key)


def random_weights(config, **more):
    draw = np.random.default_rng(0)
    shapes = {**encoder_shapes(config), **more}
    return {address: draw.normal(size=shape).astype("float32") for address, shape in shapes.items()}


def make_preset(table=OWN, prefix="", family="bert", more=None, **sizes):
    config = TransformerConfig(family, **{"num_layers": 4, **SIZES, **sizes})
    weights = random_weights(config, **(more or {}))
    arrays = dict(to_source(table, address, value, 2, prefix) for address, value in weights.items())
    return Preset(
        name="tiny",
        origin="test",
        config=config,
        source=CountingSource(arrays),
        table=table,
        tokenizer=TokenizerSpec("wordpiece", PIECES, {}, {"vocab.txt": vocabulary_bytes(PIECES)}),
    )


def value(preset, address):
    key = stored_addresses(preset.source, preset.table)[address]
    return transform_of(preset.table.rule(address)).forward(preset.source.get(key))


TABLES = [
    (OWN, "", "bert"),
    (FAMILIES["bert"].huggingface.table, "", "bert"),
    (FAMILIES["bert"].huggingface.table, "bert.", "bert"),
    (FAMILIES["bert"].keras_hub.table, "", "bert"),
    (FAMILIES["roberta"].keras_hub.table, "", "roberta"),
    (FAMILIES["distilbert"].huggingface.table, "distilbert.", "distilbert"),
    (FAMILIES["roberta"].huggingface.table, "roberta.", "roberta"),
]


@pytest.mark.parametrize(("table", "prefix", "family"), TABLES, ids=lambda v: getattr(v, "name", v))
def test_every_source_keeps_the_chosen_blocks_and_all_else(table, prefix, family):
    preset = make_preset(table, prefix, family)
    adapted = adapt(preset, layers=[3, 1], max_sequence_length=9, new_tokens=["spectrum"])
    make_plan(encoder_shapes(adapted.config), adapted.source, table)  # every name and shape
    for address in encoder_shapes(adapted.config):
        old = address.replace("block_0/", "block_3/").replace("block_1/", "block_1/")
        if address not in (TOKEN, POSITION):
            np.testing.assert_array_equal(value(adapted, address), value(preset, old), address)
    assert adapted.config.num_layers == 2
    head = preset.config.position_offset
    old, new = value(preset, POSITION), value(adapted, POSITION)
    np.testing.assert_array_equal(new[: head + 6], old)
    np.testing.assert_array_equal(new[head + 6 :], old[head : head + 3])


def test_old_spellings_stay_old_spellings():
    preset = make_preset(FAMILIES["bert"].huggingface.table, "bert.")
    arrays = {
        key.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): array
        for key, array in preset.source._arrays.items()
    }
    old = dataclasses.replace(preset, source=ArraySource(arrays))
    adapted = adapt(old, layers=[2])
    make_plan(encoder_shapes(adapted.config), adapted.source, adapted.table)
    key = "bert.encoder.layer.0.output.LayerNorm.gamma"
    np.testing.assert_array_equal(adapted.source.get(key), arrays[key.replace("0", "2")])


def test_nothing_is_read_until_it_is_loaded_and_dropped_blocks_never():
    preset = make_preset()
    adapted = adapt(preset, layers="last:2", max_sequence_length=12, new_tokens=["spectrum"])
    assert preset.source.read == []
    adapted.build_encoder()
    assert not [key for key in preset.source.read if key.startswith(("encoder_block_0", "encoder_block_1"))]


def inputs(length, limit=13):
    ids = np.random.default_rng(1).integers(0, limit, (2, length))
    return {"token_ids": ids, "padding_mask": np.ones_like(ids), "segment_ids": ids % 2}


def test_the_first_blocks_compute_what_they_computed_inside_the_whole():
    import keras

    preset = make_preset()
    whole = preset.build_encoder()
    inner = keras.Model(whole.input, whole.get_layer("encoder_block_1").output)
    shallow = adapt(preset, layers=2).build_encoder()
    np.testing.assert_array_equal(shallow(inputs(6)), inner(inputs(6)))


def test_repeated_positions_and_new_tokens_leave_old_texts_as_they_were():
    preset = make_preset()
    adapted = adapt(preset, max_sequence_length=13, new_tokens=["spectrum", "##x", "covid"])
    before, after = preset.build_encoder(), adapted.build_encoder()
    np.testing.assert_array_equal(after(inputs(6)), before(inputs(6)))
    assert after(inputs(13, 16)).shape == (2, 13, 8)


def test_adapting_by_nothing_changes_nothing():
    preset = make_preset()
    adapted = adapt(preset)
    assert adapted.summary == "nothing was changed"
    assert adapted.config == preset.config and adapted.tokenizer == preset.tokenizer
    for address, variable in addresses(adapted.build_encoder()).items():
        np.testing.assert_array_equal(variable.numpy(), preset.source.get(address))


def test_changes_add_up_and_are_told():
    first = adapt(make_preset(), layers="every_second", max_sequence_length=12)
    second = adapt(first, layers=[1], max_sequence_length=4, new_tokens=["spectrum", "covid"])
    assert second.summary.splitlines() == [
        "layers: 2 of 4, the blocks 0, 2",
        "positions: 12 instead of 6, repeated",
        "layers: 1 of 2, the blocks 1",
        "positions: 4 instead of 12, the first",
        "vocabulary: 15 tokens instead of 13; the new ones (spectrum, covid) have the ids from 13 on and start as "
        "the mean of the old vectors",
    ]
    block = "encoder_block_0/feed_forward/output/bias"
    np.testing.assert_array_equal(value(second, block), value(make_preset(), block.replace("0", "2")))


# Positions and vocabulary


def test_rows_that_are_repeated_or_interpolated():
    table = np.arange(12, dtype="float16").reshape(4, 3)
    np.testing.assert_array_equal(resize_positions(table, 10, 0, "repeated")[[0, 4, 9]], table[[0, 0, 1]])
    stretched = interpolate_rows(table, 7)
    np.testing.assert_array_equal(stretched[::2], table)  # the old ones, with one between any two
    np.testing.assert_array_equal(stretched[1], (table[0] + table[1]) / 2)
    assert stretched.dtype == table.dtype
    np.testing.assert_array_equal(interpolate_rows(table[:1], 3), table[[0, 0, 0]])


def test_interpolated_positions_leave_the_rows_before_them():
    preset = make_preset(FAMILIES["roberta"].huggingface.table, "roberta.", "roberta")
    old = value(preset, POSITION)
    new = value(adapt(preset, max_sequence_length=11, positions="interpolated"), POSITION)
    assert new.shape == (13, 8)
    np.testing.assert_array_equal(new[:2], old[:2])
    np.testing.assert_allclose(new[2:][::2], old[2:], rtol=1e-6)


def test_new_tokens_take_spare_rows_first_and_the_mean_of_used_ones():
    table = np.array([[1.0, 2.0], [3.0, 4.0], [90.0, 90.0], [80.0, 80.0]], "float32")
    grown = append_mean_rows(table, used=2, new=1, rows=4)
    np.testing.assert_array_equal(grown, [[1, 2], [3, 4], [2, 3], [80, 80]])
    preset = make_preset(more={"lm_head/bias": (16,)})
    one = adapt(preset, new_tokens=["spectrum"])
    assert one.config == preset.config and one.tokenizer.vocabulary[13] == "spectrum"
    four = adapt(preset, new_tokens=["spectrum", "a", "b", "##c"])
    assert four.config.vocabulary_size == four.config.decoder_vocabulary_size == 17
    old, new = value(preset, TOKEN), value(four, TOKEN)
    np.testing.assert_array_equal(new[:13], old[:13])
    np.testing.assert_allclose(new[13:], np.tile(old[:13].mean(axis=0), (4, 1)), rtol=1e-5)
    assert value(four, "lm_head/bias").shape == (17,)
    assert value(four, "lm_head/bias")[16] == pytest.approx(value(preset, "lm_head/bias")[:13].mean())


def test_new_tokens_are_met_in_texts_and_old_ids_stay():
    preset = make_preset()
    tokenizer = adapt(preset, new_tokens=["spectrum", "##um", "19th"]).tokenizer.build()
    old = preset.tokenizer.build()
    assert old.encode("the spectral") == tokenizer.encode("the spectral")
    assert [tokenizer.id_to_token(i) for i in tokenizer.encode("Spectrum spectrumum, 19TH")] == [
        "spectrum", "spectrum", "##um", "[UNK]", "19th",
    ]  # fmt: skip
    assert old.encode("spectrum") == [old.unknown_id]


# Layers


def test_blocks_of_unlike_heads_bring_theirs_along():
    old = make_preset()
    config = old.config.replace(num_heads=(2, 1, 1, 2), num_key_value_heads=(2, 1, 1, 2))
    preset = dataclasses.replace(old, config=config)
    assert adapt(preset, layers=[3, 1]).config.num_heads == (2, 1)
    assert adapt(preset, layers=[0, 3]).config == old.config.replace(num_layers=2, num_decoder_layers=2)
    assert adapt(preset, config, layers=[3, 2, 1, 0]).config.num_heads == (2, 1, 1, 2)
    shallow = adapt(preset, layers=[3, 1]).config
    assert adapt(preset, shallow, layers=[3, 1]).config == shallow
    with pytest.raises(TransformerError, match=r"num_heads of the config .*, \(1, 2\); got \(2, 1\)"):
        adapt(preset, shallow, layers=[1, 3])


def test_shared_blocks_are_applied_fewer_times():
    preset = make_preset(FAMILIES["albert"].huggingface.table, "albert.", "albert", embedding_dim=4)
    adapted = adapt(preset, layers=2)
    assert adapted.config == preset.config.replace(num_layers=2, num_decoder_layers=2)
    assert "all by the one block" in adapted.summary
    make_plan(encoder_shapes(adapted.config), adapted.source, adapted.table)
    grouped = make_preset(
        FAMILIES["albert"].huggingface.table, "albert.", "albert", embedding_dim=4, num_distinct_blocks=2
    )
    with pytest.raises(TransformerError, match="has 4 layers of 2 blocks"):
        adapt(grouped, layers=2)


# Configs


def test_a_config_says_the_same_as_the_arguments():
    preset = make_preset()
    config = TransformerConfig(
        "bert", **{**SIZES, "num_layers": 2, "max_sequence_length": 9, "vocabulary_size": 18}, dropout=0.3
    )
    adapted = adapt(preset, config, layers="last", new_tokens=["spectrum"])
    assert adapted.config == config
    other = adapt(preset, layers="last:2", max_sequence_length=9, new_tokens=["spectrum"])
    np.testing.assert_array_equal(value(adapted, TOKEN)[:16], value(other, TOKEN))
    assert value(adapted, TOKEN).shape == (18, 8)
    assert "token table: 18 rows instead of 16" in adapted.summary


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hidden_dim": 16}, "hidden_dim of the config must be the checkpoint's, 8; got 16"),
        ({"family": "electra"}, "family of the config must be the checkpoint's, 'bert'"),
        ({"num_distinct_blocks": 1}, "num_distinct_blocks of the config"),
        ({"vocabulary_size": 12}, "vocabulary_size of the config must be at least 13"),
        ({"num_layers": 5}, "between 1 and 4"),
        ({"max_sequence_length": 5}, "must be the config's, 5, where both are given; got 6"),
    ],
)
def test_a_config_that_the_checkpoint_cannot_fill(change, message):
    preset = make_preset()
    with pytest.raises(TransformerError, match=message):
        adapt(preset, preset.config.replace(**change), max_sequence_length=6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"positions": "interpolate"}, "did you mean 'interpolated'"),
        ({"max_sequence_length": 0}, "max_sequence_length must be a positive integer; got 0"),
        ({"new_tokens": ["the"]}, "'the' has the id 5 already"),
        ({"new_tokens": ["a", "a"]}, "'a' is there twice"),
        ({"new_tokens": "abc"}, "must be a list of strings; got 'abc'"),
        ({"new_tokens": ["Spec"]}, "'Spec' can never occur, since the text 'Spec' is read as spec; write it in lower"),
        ({"new_tokens": ["co-19"]}, "is read as c ##o - 19"),
        ({"new_tokens": ["[X]"]}, "can never occur"),
        ({"new_tokens": ["##"]}, "is read as nothing"),
    ],
)
def test_what_cannot_be_asked_for(arguments, message):
    with pytest.raises(TransformerError, match=message) as caught:
        adapt(make_preset(), **arguments)
    assert "\n" not in str(caught.value)


def test_what_cannot_be_adapted():
    preset = make_preset()
    with pytest.raises(TransformerError, match="before its structure is modified; tiny"):
        adapt(dataclasses.replace(preset, modifications=({"lora": 4},)), layers=1)
    other = dataclasses.replace(preset.tokenizer, kind="byte_bpe")
    with pytest.raises(TransformerError, match="a wordpiece vocabulary alone; this one is byte_bpe"):
        adapt(dataclasses.replace(preset, tokenizer=other), new_tokens=["x"])


def test_a_classifiers_own_limit_goes_with_the_old_length():
    preset = dataclasses.replace(make_preset(), task={"sequence_length": 6, "advice": {"epochs": 8}})
    assert adapt(preset, layers=1).task == preset.task
    assert adapt(preset, max_sequence_length=4).task == {"advice": {"epochs": 8}}
