"""The distillation loss: per word, per text, relative to how much the teacher varies."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

from tftransformer.config import TransformerConfig
from tftransformer.errors import TransformerError
from tftransformer.models.encoder import build_encoder
from tftransformer.pretraining import distillation
from tftransformer.pretraining.distillation import HiddenStateMatching, fit_projection


def config_of(**changes):
    sizes = {"vocabulary_size": 30, "num_layers": 2, "hidden_dim": 8, "num_heads": 2, "intermediate_dim": 16}
    return TransformerConfig(**{**sizes, "max_sequence_length": 12, "dropout": 0.0, **changes})


def batch_of(rows=6, length=7, seed=0):
    draw = np.random.default_rng(seed)
    ids = draw.integers(1, 30, (rows, length)).astype("int32")
    ids[np.arange(length) >= draw.integers(3, length + 1, rows)[:, None]] = 0
    mask = (ids > 0).astype("int32")
    words = np.where(mask == 1, np.arange(length), -1).astype("int32")
    batch = {"token_ids": ids, "padding_mask": mask, "segment_ids": np.zeros_like(ids), "words": words}
    return {**batch, **{f"teacher_{name}": array for name, array in batch.items()}}


def hidden_of(encoder, batch):
    model = keras.Model(encoder.input, [encoder.get_layer(f"encoder_block_{i}").output for i in range(2)])
    return model({name: batch[name] for name in encoder.input})


def distillation_of(teacher):
    return HiddenStateMatching(teacher, config_of(), config_of(), np.eye(8))


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(1, 4), min_size=1, max_size=5), st.integers(0, 3))
def test_word_means_are_means_over_the_pieces(lengths, padding):
    hidden = np.random.default_rng(0).normal(size=(sum(lengths) + padding, 3)).astype("float32")
    numbers = np.repeat(np.arange(len(lengths)), lengths)
    words = np.concatenate([numbers, np.full(padding, -1)])
    weights, there = distillation.word_weights(words[None], len(lengths) + 1)
    means = ops.convert_to_numpy(weights)[0] @ hidden
    for i in range(len(lengths)):
        np.testing.assert_allclose(means[i], hidden[words == i].mean(0), atol=1e-5)
    assert ops.convert_to_numpy(there).tolist() == [[1.0] * len(lengths) + [0.0]]


def test_the_teacher_itself_has_no_loss_and_its_mean_has_loss_one():
    teacher = build_encoder(config_of())
    loss = distillation_of(teacher)
    batch = batch_of()
    loss.measure([batch])
    perfect = hidden_of(teacher, batch)
    for term in loss.loss_terms(perfect, batch).values():
        assert float(term) == pytest.approx(0.0, abs=1e-6)
    last = ops.convert_to_numpy(perfect[-1])
    mean = last[batch["padding_mask"] == 1].mean(0)
    terms = loss.loss_terms([perfect[0], np.broadcast_to(mean, last.shape)], batch)
    assert float(terms["word"]) == pytest.approx(1.0, abs=1e-3)
    assert float(terms["inner"]) == pytest.approx(0.0, abs=1e-6)


def test_longer_padding_changes_no_term():
    config = config_of()
    teacher, student = build_encoder(config), build_encoder(config)
    loss = distillation_of(teacher)
    batch = batch_of()
    loss.measure([batch])
    longer = {
        name: np.pad(array, ((0, 0), (0, 3)), constant_values=-1 if name.endswith("words") else 0)
        for name, array in batch.items()
    }
    short = loss.loss_terms(hidden_of(student, batch), batch)
    long = loss.loss_terms(hidden_of(student, longer), longer)
    for name in short:
        assert float(short[name]) == pytest.approx(float(long[name]), rel=1e-4)


def test_one_text_alone_has_a_finite_loss():
    config = config_of()
    loss = distillation_of(build_encoder(config))
    loss.measure([batch_of()])
    alone = batch_of(rows=1)
    terms = loss.loss_terms(hidden_of(build_encoder(config), alone), alone)
    assert all(float(term) < 100 for term in terms.values())


def test_blocks_are_matched_by_depth():
    assert distillation.matched_blocks(6, 12) == [(i, 2 * i + 1) for i in range(6)]
    assert distillation.matched_blocks(6, 4) == [(5, 3)]


def test_a_projection_of_another_width_is_an_error():
    with pytest.raises(TransformerError, match=r"projection must have the shape \(8, 8\); got \(5, 8\)"):
        HiddenStateMatching(build_encoder(config_of()), config_of(), config_of(), np.eye(5, 8))


def test_a_projection_is_found_again_from_what_a_student_gives():
    draw = np.random.default_rng(0)
    true, other = (np.linalg.qr(draw.normal(size=(8, 4)))[0] for _ in range(2))
    # As in a Transformer a few directions carry nearly everything.
    inner, last = draw.normal(size=(2, 300, 8)) * [30, 9, 3, 2, 1, 1, 1, 1]
    noisy = last @ true + 0.1 * draw.normal(size=(300, 4))
    found = fit_projection([[(inner, inner @ true), (last, noisy)]] * 2)
    np.testing.assert_allclose(found.T @ found, np.eye(4), atol=1e-5)
    np.testing.assert_allclose(found, true, atol=0.03)
    # The last block counts most: where blocks contradict each other, it is followed.
    torn = fit_projection([[(inner, inner @ other), (last, last @ true)]])
    assert np.square(last @ (torn - true)).sum() < np.square(last @ (torn - other)).sum()


def test_no_gradient_reaches_the_teacher():
    loss = distillation_of(build_encoder(config_of()))
    loss.measure([batch_of()])
    assert not loss.trainable_variables
    assert [tuple(v.shape) for v in loss.measured] == [(8, 8), (2,), ()]
    with tf.GradientTape() as tape:
        tape.watch([v.value for v in (*loss.teacher.variables, loss.projection)])
        words, _ = loss.targets(batch_of())
    assert tape.gradient(words, [v.value for v in loss.teacher.variables]) == [None] * len(loss.teacher.variables)
