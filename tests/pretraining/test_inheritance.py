"""A student that starts as its teacher, made of parts of its teacher."""

import keras
import numpy as np
import pytest

from tftransformer import patterns
from tftransformer.config import TransformerConfig
from tftransformer.errors import TransformerError
from tftransformer.models.encoder import build_encoder
from tftransformer.pretraining import inheritance

V = 50


def config_of(**changes):
    sizes = {"vocabulary_size": V, "num_layers": 2, "hidden_dim": 16, "num_heads": 4, "intermediate_dim": 32}
    return TransformerConfig(**{**sizes, "max_sequence_length": 12, "dropout": 0.0, **changes})


def teacher_of(config, plain_norms=False, seed=0):
    draw = np.random.default_rng(seed)
    encoder = build_encoder(config)
    for name, variable in patterns.addresses(encoder).items():
        values = draw.normal(0.0, 0.3, variable.shape)
        if "norm/" in name:
            values = np.full(variable.shape, float(name.endswith("gamma"))) if plain_norms else values + 1.0
        variable.assign(values)
    weights = {name: keras.ops.convert_to_numpy(v) for name, v in patterns.addresses(encoder).items()}
    return encoder, weights


def sample(rows=120, length=10):
    draw = np.random.default_rng(2)
    ids = draw.integers(1, V, (rows, length)).astype("int32")
    ids[np.arange(length) >= draw.integers(3, length + 1, rows)[:, None]] = 0
    return ids


def outputs(encoder, ids):
    inputs = {"token_ids": ids, "padding_mask": (ids > 0).astype("int32"), "segment_ids": np.zeros_like(ids)}
    return keras.ops.convert_to_numpy(encoder(inputs))


def relative_error(got, wanted, mask):
    return np.square(got - wanted)[mask].sum() / np.square(wanted - wanted[mask].mean(0))[mask].sum()


def test_the_stream_is_what_the_encoder_computes():
    config = config_of()
    encoder, weights = teacher_of(config)
    ids = sample(8)
    stream = inheritance.teacher_stream(weights, config, ids, ids > 0)
    np.testing.assert_allclose(stream[-1][0][ids > 0], outputs(encoder, ids)[ids > 0], rtol=1e-3, atol=1e-4)


def test_a_student_of_the_same_shape_becomes_the_teacher():
    # Without gains and shifts in its norms nothing is lost in the rotated basis. What is left is the fit,
    # which aims at the stream behind each norm, and so cannot follow the norm's division.
    config = config_of()
    encoder, weights = teacher_of(config, plain_norms=True)
    ids = sample(400)
    inherited, projection = inheritance.inherit(weights, config, config, ids, [[i] for i in range(V)])
    student = build_encoder(config)
    for name, variable in patterns.addresses(student).items():
        variable.assign(inherited[name])
    fresh = sample(40)[:, :8]
    error = relative_error(outputs(student, fresh), outputs(encoder, fresh) @ projection, fresh > 0)
    assert error < 0.2


def test_a_narrow_deep_student_starts_far_ahead_of_a_random_one():
    config, narrow = config_of(), config_of(num_layers=4, hidden_dim=8, num_heads=2, intermediate_dim=16)
    encoder, weights = teacher_of(config)
    lines = []
    ids = sample(400)
    inherited, projection = inheritance.inherit(
        weights, config, narrow, ids, [[i] for i in range(V)], progress=lines.append
    )
    student = build_encoder(narrow)
    wanted = outputs(encoder, ids) @ projection
    before = relative_error(outputs(student, ids), wanted, ids > 0)
    variables = patterns.addresses(student)
    assert set(variables) == set(inherited)
    for name, variable in variables.items():
        variable.assign(inherited[name])
    after = relative_error(outputs(student, ids), wanted, ids > 0)
    # A random teacher fills its whole width, so half of it loses far more than with a trained one.
    assert after < 0.8 and after < before / 2
    assert len(lines) == 2 and "relative error" in lines[-1]
    np.testing.assert_allclose(projection.T @ projection, np.eye(8), atol=1e-5)


def test_pieces_that_the_teacher_has_in_parts_take_the_mean_of_its_vectors():
    config = config_of()
    _, weights = teacher_of(config)
    student = config_of(vocabulary_size=3)
    inherited, _ = inheritance.inherit(weights, config, student, sample(), [[4], [7], [4, 7]])
    table = inherited["embeddings/token/embeddings"]
    np.testing.assert_allclose(table[2], (table[0] + table[1]) / 2, atol=1e-5)


def test_blocks_that_do_not_divide_leave_the_student_its_own():
    config, odd = config_of(), config_of(num_layers=3)
    _, weights = teacher_of(config)
    assert not inheritance.can_split_blocks(config, odd)
    inherited, _ = inheritance.inherit(weights, config, odd, sample(), [[i] for i in range(V)])
    assert all(name.startswith("embeddings/") for name in inherited)


def test_a_wider_student_is_an_error():
    config = config_of()
    _, weights = teacher_of(config)
    with pytest.raises(TransformerError, match="hidden_dim must be at most the teacher's, 16; got 32"):
        inheritance.inherit(weights, config, config_of(hidden_dim=32), sample(), [[i] for i in range(V)])


def test_pieces_are_those_of_the_teacher_or_unknown():
    pieces = inheritance.teacher_pieces(["x", "ab", "##ab"], ["[UNK]", "a", "##b", "##a"], 0)
    assert pieces == [[0], [1, 2], [3, 2]]
