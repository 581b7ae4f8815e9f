"""The builders: every position scheme saves, loads and trains, and the names are the ones of the file format."""

import keras
import numpy as np
import pytest

from tftransformer.config import POSITIONS, TransformerConfig
from tftransformer.models import build_decoder, build_encoder, build_encoder_decoder, build_model, shapes_of
from tftransformer.models.builders import ARCHITECTURES
from tftransformer.models.families import FAMILIES
from tftransformer.patterns import addresses


def config(family="bert", **changes):
    sizes = {"vocabulary_size": 30, "num_layers": 1, "hidden_dim": 16, "num_heads": 4, "intermediate_dim": 24}
    return TransformerConfig(family, **{**sizes, "max_sequence_length": 12, **changes})


def inputs(model, length=6, seed=0):
    ids = np.random.default_rng(seed).integers(1, 20, (2, length)).astype("int32")
    mask = np.ones((2, length), "int32")
    mask[0, length - 2 :] = 0
    kinds = {"token_ids": ids, "padding_mask": mask, "segment_ids": (ids > 9).astype("int32")}
    return {name: next(value for kind, value in kinds.items() if name.endswith(kind)) for name in model.input}


def randomise(model):
    rng = np.random.default_rng(5)
    for variable in model.weights:
        variable.assign(rng.normal(size=variable.shape) * 0.3)


# The encoder-decoder holds the parts of the other two.
@pytest.mark.parametrize(
    ("family", "position"),
    [
        ("transformer", "relative"),
        ("transformer", "rotary"),
        ("bert", "learned"),
        ("bert", "alibi"),
        ("gpt2", "relative_buckets"),
        *(
            pytest.param("transformer", position, marks=pytest.mark.slow)
            for position in POSITIONS
            if position not in ("relative", "rotary")
        ),
    ],
)
def test_every_family_and_position_scheme_saves_and_loads(family, position, tmp_path):
    model = build_model(config(family, position=position, num_key_value_heads=2))
    randomise(model)
    x = inputs(model)
    y = model(x)
    model.save(tmp_path / "x.keras")
    copy = keras.models.load_model(tmp_path / "x.keras")
    np.testing.assert_array_equal(copy(x), y)
    assert list(addresses(copy)) == list(addresses(model))
    assert copy.output.shape == model.output.shape and copy.output.shape[:2] == (None, None)


@pytest.mark.parametrize("position", ["relative", "relative_buckets"])
def test_position_weights_receive_gradients_and_their_addresses(position):
    model = build_decoder(config("gpt2", position=position))
    names = [name for name in addresses(model) if "position" in name]
    assert (
        names
        == {
            "relative": [
                "decoder_block_0/self_attention/position/keys",
                "decoder_block_0/self_attention/position/values",
            ],
            "relative_buckets": ["decoder_position_bias/embeddings"],
        }[position]
    )
    before = {name: np.array(addresses(model)[name]) for name in names}
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True), jit_compile=False)
    model.fit(inputs(model), inputs(model)["token_ids"], verbose=0, epochs=1)
    for name in names:
        assert np.abs(before[name] - np.array(addresses(model)[name])).max() > 0


def test_the_encoders_addresses_are_those_of_the_file_format():
    model = build_encoder(config(normalize_first=True, gated=True))
    block = [
        *(f"attention/{p}/{w}" for p in ("query", "key", "value", "output") for w in ("kernel", "bias")),
        *(f"feed_forward/{p}/{w}" for p in ("intermediate", "gate", "output") for w in ("kernel", "bias")),
        *(f"{norm}/{w}" for norm in ("attention_norm", "feed_forward_norm") for w in ("gamma", "beta")),
    ]
    tables = [f"embeddings/{name}/embeddings" for name in ("token", "position", "segment")]
    norms = [f"{n}/{w}" for n in ("embeddings/norm", "final_norm") for w in ("gamma", "beta")]
    assert set(addresses(model)) == {*tables, *norms, *(f"encoder_block_0/{name}" for name in block)}
    assert [layer.name for layer in model.layers if layer.weights] == ["embeddings", "encoder_block_0", "final_norm"]


def test_the_encoder_decoders_layers_are_named():
    model = build_encoder_decoder(config("transformer", position="alibi", normalize_first=True, num_decoder_layers=2))
    names = {layer.name for layer in model.layers}
    assert names == {
        "encoder_token_ids", "encoder_padding_mask", "decoder_token_ids", "decoder_padding_mask",
        "embeddings", "position_bias", "encoder_block_0", "final_norm",
        "decoder_embeddings", "decoder_position_bias", "decoder_block_0", "decoder_block_1", "decoder_final_norm",
        "logits",
    }  # fmt: skip
    assert {name.split("/")[1] for name in addresses(model) if name.startswith("decoder_block_1/")} == {
        "self_attention", "self_attention_norm", "cross_attention", "cross_attention_norm",
        "feed_forward", "feed_forward_norm",
    }  # fmt: skip


def test_an_untied_decoder_has_a_head_of_its_own():
    tied, untied = (build_decoder(config("gpt2", tie_embeddings=tie)) for tie in (True, False))
    assert set(addresses(untied)) - set(addresses(tied)) == {"lm_head/kernel"}
    hidden = keras.Model(tied.input, tied.get_layer("decoder_final_norm").output)(inputs(tied))
    table = np.array(addresses(tied)["decoder_embeddings/token/embeddings"])
    np.testing.assert_allclose(tied(inputs(tied)), np.array(hidden) @ table.T, atol=1e-5)


@pytest.mark.parametrize("dtype", ["mixed_bfloat16", pytest.param("mixed_float16", marks=pytest.mark.slow)])
@pytest.mark.parametrize("position", ["learned", "rotary", "alibi"])
def test_mixed_precision_follows_the_argument(dtype, position):
    encoder = build_encoder(config(position=position), dtype=dtype)
    decoder = build_decoder(config("gpt2", position=position), dtype=dtype)
    assert encoder(inputs(encoder)).dtype == dtype.removeprefix("mixed_")
    assert decoder(inputs(decoder)).dtype == "float32"
    assert {v.dtype for v in encoder.weights} == {"float32"}
    wide = build_encoder(config(position=position))
    wide.set_weights(encoder.get_weights())
    np.testing.assert_allclose(keras.ops.cast(encoder(inputs(encoder)), "float32"), wide(inputs(wide)), atol=0.1)


def test_a_padded_batch_and_a_short_one_agree_through_a_whole_model():
    model = build_encoder(config(num_layers=2, position="relative_buckets"))
    randomise(model)
    x = inputs(model)
    short = {name: value[:1, :4] for name, value in x.items()}
    np.testing.assert_allclose(model(x)[0, :4], model(short)[0], atol=1e-5)


def test_every_family_has_a_builder():
    for family in FAMILIES.values():
        assert family.architecture in ARCHITECTURES


@pytest.mark.parametrize(
    "choices",
    [
        {},
        {"share_embeddings": True, "embedding_norm": True, "position": "learned", "logits_bias": True, "position_offset": 2},
        {"share_embeddings": True, "norm": "rms", "position": "relative_buckets", "relative_buckets": 8,
         "relative_max_distance": 16, "normalize_first": True, "tie_embeddings": False, "scale_logits": True},
        {"decoder_vocabulary_size": 20, "num_decoder_layers": 2, "position": "sinusoidal_halves", "num_segments": 1},
    ],
)  # fmt: skip
def test_an_encoder_decoders_shapes_follow_from_its_config(choices, tmp_path):
    made = config("transformer", **choices)
    model = build_model(made)
    randomise(model)
    assert shapes_of(made) == {name: tuple(variable.shape) for name, variable in addresses(model).items()}
    model.save(tmp_path / "x.keras")
    np.testing.assert_array_equal(keras.models.load_model(tmp_path / "x.keras")(inputs(model)), model(inputs(model)))


def test_both_sides_look_up_one_table_and_place_its_rows_themselves():
    made = config("transformer", share_embeddings=True, position="learned", num_layers=1)
    model = build_model(made)
    randomise(model)
    y = np.array(model(inputs(model)))
    tables = {name: variable for name, variable in addresses(model).items() if name.endswith("/embeddings")}
    assert sorted(tables) == [
        "decoder_embeddings/position/embeddings", "embeddings/position/embeddings", "embeddings/token/embeddings",
    ]  # fmt: skip
    apart = build_model(made.replace(share_embeddings=False))
    values = {name: np.array(variable) for name, variable in addresses(model).items()}
    values["decoder_embeddings/token/embeddings"] = values["embeddings/token/embeddings"]
    for name, variable in addresses(apart).items():
        variable.assign(values[name])
    np.testing.assert_array_equal(apart(inputs(apart)), y)


def test_logits_may_be_scaled_and_moved():
    plain = build_model(config("gpt2"))
    moved = build_model(config("gpt2", scale_logits=True, logits_bias=True))
    randomise(plain)
    for name, variable in addresses(moved).items():
        variable.assign(addresses(plain).get(name, np.arange(30.0)))
    np.testing.assert_allclose(moved(inputs(plain)), np.array(plain(inputs(plain))) / 4 + np.arange(30), atol=1e-5)


MODERN = {
    "norm": "rms",
    "gated": True,
    "use_bias": False,
    "position": "rotary",
    "activation": "silu",
    "tie_embeddings": False,
}


def test_a_decoder_of_rms_norms_saves_and_loads(tmp_path):
    made = config("gpt2", **MODERN, embedding_norm=True, rotary_period=50.0)
    model = build_model(made)
    randomise(model)
    assert shapes_of(made) == {name: tuple(variable.shape) for name, variable in addresses(model).items()}
    assert not any(name.endswith(("bias", "beta", "gamma")) for name in addresses(model))
    model.save(tmp_path / "x.keras")
    y = model(inputs(model))
    np.testing.assert_array_equal(keras.models.load_model(tmp_path / "x.keras")(inputs(model)), y)
    # Each of them is of consequence.
    for change in ({"rotary_period": 10000.0}, {"scale_attention": False}, {"layer_norm_epsilon": 0.1}):
        other = build_model(made.replace(**change))
        other.set_weights(model.get_weights())
        assert np.abs(other(inputs(other)) - y).max() > 1e-3, change


@pytest.mark.parametrize("family", ["bert", "gpt2", "transformer"])
def test_unscaled_attention_is_scaled_queries(family):
    plain, unscaled = build_model(config(family)), build_model(config(family, scale_attention=False))
    randomise(plain)
    unscaled.set_weights(plain.get_weights())
    for name, variable in addresses(unscaled).items():
        if "/query/" in name:
            variable.assign(variable / 2.0)  # the root of the heads' width, 4
    np.testing.assert_allclose(unscaled(inputs(plain)), plain(inputs(plain)), atol=1e-5)
