"""From text to text: what it learns, and what batches, padding, saving, freezing and export must not change."""

import json
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

import tftransformer as tt
from tftransformer.data import Split
from tftransformer.data.pipeline import token_batches
from tftransformer.errors import TransformerError
from tftransformer.models import build_encoder_decoder, generation
from tftransformer.patterns import addresses, copy_weights

COLOURS = {"red": "rot", "blue": "blau", "green": "gruen", "black": "schwarz"}
THINGS = {"house": "Haus", "dog": "Hund", "tree": "Baum"}
PAIRS = [(f"the {c} {t}", f"{t2} {c2}!") for c, c2 in COLOURS.items() for t, t2 in THINGS.items()]
SOURCES, TARGETS = [list(side) for side in zip(*PAIRS, strict=True)]


@pytest.fixture(scope="module")
def tokenizer():
    return tt.text.train_byte_bpe([side for pair in PAIRS for side in pair], 340)


def config(tokenizer, **changes):
    sizes = {"num_layers": 1, "hidden_dim": 32, "num_heads": 2, "intermediate_dim": 64, "dropout": 0.0}
    fields = {"vocabulary_size": tokenizer.vocabulary_size, "share_embeddings": True, "normalize_first": True}
    return tt.TransformerConfig("transformer", **{**sizes, **fields, **changes})


def build(tokenizer, search=None, **changes):
    keras.utils.set_random_seed(0)
    return tt.Seq2Seq(config(tokenizer, **changes), tokenizer, sequence_length=24, search=search or generation.Greedy())


@pytest.fixture(scope="module")
def trained(tokenizer):
    task = build(tokenizer)
    task.compile(learning_rate=1e-2, warmup=10)
    # The rows many times over: an epoch costs as much as ten of these updates.
    task.fit(SOURCES * 20, TARGETS * 20, epochs=12, batch_size=6, verbose=0)
    return task


def test_it_learns_to_write(trained):
    assert trained.generate(SOURCES) == TARGETS
    assert trained.generate(SOURCES, search=generation.BeamSearch(3)) == TARGETS
    assert trained.predict(SOURCES).tolist() == TARGETS


def test_a_text_is_written_alike_alone_and_in_any_batch(trained):
    texts = [*SOURCES[3:8], "black", "a tree the tree the tree"]
    together = trained.generate(texts)
    assert [trained.generate([text])[0] for text in texts] == together
    assert trained.generate(texts[::-1], batch_size=2) == together[::-1]


def test_several_texts_are_given_the_best_first(trained):
    found = trained.generate(SOURCES[:3], search=generation.BeamSearch(3, num_texts=2))
    assert [texts[0] for texts in found] == TARGETS[:3] and all(len(set(texts)) == 2 for texts in found)


def test_what_it_takes_texts_in_is_the_same_data(trained, tokenizer):
    forms = [
        ((SOURCES, TARGETS), {}),
        ((PAIRS,), {}),
        ((Split(PAIRS, None),), {}),
        ((tf.data.Dataset.from_tensor_slices((SOURCES, TARGETS)),), {}),
        ((trained.preprocess(SOURCES, TARGETS),), {}),
    ]
    found = [trained.evaluate(*data, verbose=0, return_dict=True, batch_size=5, **more) for data, more in forms]
    for one in found[1:]:
        assert one["loss"] == pytest.approx(found[0]["loss"], abs=1e-5)
        assert one["perplexity"] == pytest.approx(found[0]["perplexity"], abs=1e-5)


def test_figures_are_of_all_real_tokens_whatever_the_batches(trained):
    x, y, weights = next(iter(token_batches(trained.preprocess(SOURCES, TARGETS), len(SOURCES), shuffle=False)))
    logits = trained(x)
    losses = keras.losses.sparse_categorical_crossentropy(y, logits, from_logits=True).numpy()
    expected = (losses * weights).numpy().sum() / weights.numpy().sum()
    for size in (1, 5, 12):
        found = trained.evaluate(SOURCES, TARGETS, batch_size=size, verbose=0, return_dict=True)
        assert np.log(found["perplexity"]) == pytest.approx(expected, abs=1e-4)
    smoothed = tt.finetuning.losses.SmoothedCrossEntropy(0.1, reduction=None)(y, logits).numpy()
    assert found["loss"] == pytest.approx((smoothed * weights).numpy().sum() / weights.numpy().sum(), abs=1e-4)


def test_it_is_the_functional_model(trained, tokenizer):
    x, *_ = next(iter(token_batches(trained.preprocess(SOURCES, TARGETS), 4, shuffle=False)))
    model = build_encoder_decoder(trained.config)
    copy_weights(trained, model)
    named = {"encoder_token_ids": x["token_ids"], "encoder_padding_mask": x["padding_mask"]}
    named |= {name: x[name] for name in ("decoder_token_ids", "decoder_padding_mask")}
    np.testing.assert_allclose(trained(x), model(named), atol=1e-5)


def test_targets_are_given_to_the_decoder_one_place_later(tokenizer):
    task = build(tokenizer)
    examples = task.preprocess(SOURCES, TARGETS)
    rows = np.array([3, 0, 7])
    x, y, weights = examples.batch(rows, int(examples.lengths[rows].max()))
    assert (x["decoder_token_ids"][:, 0] == tokenizer.start_id).all()
    np.testing.assert_array_equal(x["decoder_token_ids"][:, 1:], y[:, :-1])
    np.testing.assert_array_equal(weights, x["decoder_padding_mask"])
    written = [[i for i, w in zip(row, own) if w] for row, own in zip(y.tolist(), weights)]
    assert all(row[-1] == tokenizer.separator_id for row in written)
    assert [tokenizer.decode(row[:-1]).strip() for row in written] == [TARGETS[row] for row in rows]


def test_batches_made_in_tensorflow_are_those_made_in_numpy(tokenizer):
    examples = build(tokenizer).preprocess(SOURCES * 20, TARGETS * 20)
    lengths = examples.lengths
    for number, (x, y, weights) in enumerate(token_batches(examples, 7, shuffle=False)):
        rows = np.arange(7 * number, min(7 * number + 7, len(examples)))
        wanted, targets, own = examples.batch(rows, int(lengths[rows].max()))
        for name, value in wanted.items():
            np.testing.assert_array_equal(x[name], value)
        np.testing.assert_array_equal(y, targets)
        np.testing.assert_array_equal(weights, own)
    assert number > 16  # more than are made at once


def test_batches_are_sorted_by_both_lengths(tokenizer):
    examples = build(tokenizer).preprocess(SOURCES * 30, TARGETS * 30)
    padded = [(x["padding_mask"].numpy(), w.numpy()) for x, _, w in token_batches(examples, 12)]
    for side in range(2):
        masks = [pair[side] for pair in padded]
        assert sum(mask.sum() for mask in masks) / sum(mask.size for mask in masks) > 0.9


def same_everywhere(task, other):
    assert other.generate(SOURCES) == task.generate(SOURCES)
    for name, value in addresses(task).items():
        np.testing.assert_array_equal(addresses(other)[name], value)


def test_saved_and_loaded_it_writes_the_same(trained, tmp_path):
    trained.save_to_preset(tmp_path / "preset")
    loaded = tt.load(tmp_path / "preset")
    assert isinstance(loaded, tt.Seq2Seq) and loaded.search == generation.Greedy()
    same_everywhere(trained, loaded)
    trained.save(tmp_path / "task.keras")
    loaded = keras.models.load_model(tmp_path / "task.keras")
    same_everywhere(trained, loaded)
    loaded.fit(PAIRS, validation_data=PAIRS, epochs=1, verbose=0)


def test_a_search_is_kept_with_its_settings(tokenizer, tmp_path):
    task = build(tokenizer, search=generation.BeamSearch(2, length_penalty=0.6))
    task.save_to_preset(tmp_path / "preset")
    assert tt.load(tmp_path / "preset").search == generation.BeamSearch(2, length_penalty=0.6)


def test_an_export_writes_the_same_without_this_package(trained, tmp_path):
    trained.export(tmp_path / "served")
    script = (
        "import sys, tensorflow as tf\n"
        "served = tf.saved_model.load(sys.argv[1]).signatures['serving_default']\n"
        "assert 'tftransformer' not in sys.modules\n"
        "found = served(text=tf.constant(sys.argv[2:]))\n"
        "print(*(text.decode() for text in found['text'].numpy()), sep='|')\n"
        "print(served(text=tf.zeros([0], tf.string))['text'].shape)"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "served"), *SOURCES[:4]]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=True)
    assert done.stdout.split("\n")[:2] == ["|".join(TARGETS[:4]), "(0,)"]
    assert not (tmp_path / "served" / "assets.extra").exists()


@pytest.mark.by_default("lora:4")
@pytest.mark.parametrize("method", ["lora:4", "adapter:8", "layerwise:0.9", "freeze:1"])
def test_methods_apply_and_what_they_did_is_saved(trained, tokenizer, tmp_path, method):
    task = build(tokenizer)
    copy_weights(trained, task)
    before = {name: np.array(value) for name, value in addresses(task).items()}
    task.apply(method)
    task.compile(learning_rate=1e-3)
    task.fit(SOURCES, [text.upper() for text in TARGETS], epochs=2, verbose=0)
    frozen = [name for name, value in addresses(task).items() if not value.trainable and name in before]
    for name in frozen:
        np.testing.assert_array_equal(addresses(task)[name], before[name])
    task.save_to_preset(tmp_path / "preset")
    assert tt.load(tmp_path / "preset").generate(SOURCES) == task.generate(SOURCES)


@pytest.mark.slow
def test_a_frozen_encoder_runs_once_and_the_result_is_the_same(trained, tokenizer, capsys):
    results = []
    for cache in ("auto", "off"):
        task = build(tokenizer, share_embeddings=False, num_layers=2)
        task.apply(tt.Freeze(patterns=["embeddings", r"encoder_block_\d+", "final_norm"]))
        task.compile(learning_rate=1e-2)
        task.fit(SOURCES, TARGETS, epochs=3, verbose=1, shuffle=False, activation_cache=cache)
        assert ("run once over" in capsys.readouterr().out) == (cache == "auto")
        results.append(task.evaluate(SOURCES, TARGETS, verbose=0))
    np.testing.assert_allclose(*results, rtol=1e-4)


def test_a_graph_knows_what_was_changed_since(trained, tokenizer):
    task = build(tokenizer)
    before = task.generate(SOURCES[:2])
    copy_weights(trained, task)
    assert task.generate(SOURCES[:2]) == TARGETS[:2] != before
    task.apply("lora:2")
    assert task.generate(SOURCES[:2]) == TARGETS[:2]  # what was put in begins at nothing


@pytest.mark.slow
def test_other_seeds_draw_other_texts(trained):
    def draw(seed):
        search = generation.Sampling(temperature=5.0, seed=seed)
        return trained.generate(SOURCES, search=search, max_new_tokens=6)

    assert draw(1) == draw(1) != draw(2)
    assert draw(None) != draw(None)


@pytest.mark.slow
def test_each_side_may_have_a_vocabulary_of_its_own(tmp_path):
    sides = [tt.text.train_byte_bpe(side, 280) for side in (SOURCES, TARGETS)]
    sizes = [side.vocabulary_size for side in sides]
    keras.utils.set_random_seed(0)
    task = tt.Seq2Seq(
        config(sides[0], decoder_vocabulary_size=sizes[1], share_embeddings=False), sides[0], target_tokenizer=sides[1],
        sequence_length=24, search=generation.Greedy(),
    )  # fmt: skip
    assert sides[0].vocabulary != sides[1].vocabulary
    task.compile(learning_rate=1e-2, warmup=10)
    task.fit(PAIRS, epochs=240, batch_size=6, verbose=0)
    assert task.generate(SOURCES) == TARGETS
    task.save_to_preset(tmp_path / "preset")
    same_everywhere(task, tt.load(tmp_path / "preset"))
    task.export(tmp_path / "served")
    served = tf.saved_model.load(tmp_path / "served").signatures["serving_default"]
    assert [text.decode() for text in served(text=tf.constant(SOURCES))["text"].numpy()] == TARGETS


def test_constraints_are_kept(trained):
    banned = trained.tokenizer.encode(TARGETS[0])[0]
    found = trained.generate(SOURCES[:1], constraints=[generation.Banned([banned])])
    assert banned not in trained.tokenizer.encode(found[0])


def test_where_it_looks_while_it_writes(trained):
    source, written, scores = trained.cross_attention(SOURCES[0], TARGETS[0])
    assert scores.shape == (1, 2, len(written), len(source))
    np.testing.assert_allclose(scores.sum(axis=-1), 1.0, atol=1e-5)
    assert source[1:4] == ["the", "red", "house"]


@pytest.mark.slow
def test_bfloat16_and_compiled_steps_train(tokenizer):
    for options, dtype in (({"jit_compile": True}, None), ({}, "mixed_bfloat16")):
        keras.utils.set_random_seed(0)
        task = tt.Seq2Seq(config(tokenizer), tokenizer, sequence_length=24, dtype=dtype)
        task.compile(learning_rate=1e-2, **options)
        history = task.fit(SOURCES, TARGETS, epochs=4, batch_size=6, verbose=0).history
        assert history["loss"][-1] < history["loss"][0]


def test_nothing_to_write_for(trained):
    assert trained.generate([]) == [] and trained.predict([]).shape == (0,)


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda t: tt.Seq2Seq(config(t), t, sequence_length=2), "sequence_length must be at least 3; got 2"),
        (lambda t: tt.Seq2Seq(config(t), t, target_length=1), "target_length must be at least 2; got 1"),
        (
            lambda t: tt.Seq2Seq(config(t, vocabulary_size=9), t),
            "vocabulary_size must be at least the tokenizer's 311 tokens; got 9",
        ),
        (
            lambda t: tt.Seq2Seq(config(t, share_embeddings=False, decoder_vocabulary_size=9), t),
            "decoder_vocabulary_size must be at least the tokenizer's 311 tokens; got 9",
        ),
        (
            lambda t: tt.Seq2Seq(config(t), t, target_tokenizer=t),
            "target_tokenizer must be left out where share_embeddings",
        ),
        (lambda t: config(t, decoder_vocabulary_size=9), "where share_embeddings is True; got 9"),
        (lambda t: tt.Seq2Seq(config(t), t, search="beam"), "search must be one of Greedy, Sampling, BeamSearch"),
        (lambda t: tt.Seq2Seq.from_preset("bert_12x192_en_uncased"), "needs a preset with a decoder"),
        (lambda t: build(t).preprocess(SOURCES, [1.5] * len(SOURCES)), "a target must be a text; got float in row 0"),
        (lambda t: build(t).preprocess(SOURCES, TARGETS[:3]), "y must have as many"),
        (lambda t: build(t).preprocess(PAIRS, TARGETS), "y must be None where x holds pairs"),
        (lambda t: build(t).generate(SOURCES, max_new_tokens=0), "max_new_tokens must be"),
        (lambda t: build(t).generate(SOURCES, search=generation.BeamSearch(5000)), "num_beams must be at most 311"),
        (lambda t: build(t).compile(label_smoothing=2.0), "label_smoothing must be at least 0 and below 1"),
        (lambda t: build(t).compile(warmpu=3), "did you mean 'warmup'"),
        (lambda t: build(t).fit(SOURCES), "fit needs"),
        (lambda t: generation.search_from_config({"kind": "beams", "num_beam": 3}), "did you mean 'num_beams'"),
        (lambda t: generation.search_from_config({"kind": "beam"}), "did you mean 'beams'"),
    ],
)
def test_what_cannot_be_is_said_in_a_line(tokenizer, make, told):
    with pytest.raises(TransformerError, match=told) as raised:
        make(tokenizer)
    assert "\n" not in str(raised.value)


@pytest.mark.slow
def test_two_replicas_equal_one_device():
    script = Path(__file__).with_name("mirrored_seq2seq.py")
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONPATH": str(script.parents[2])}
    command = [sys.executable, str(script)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["movement"] > 1e-3 and result["difference"] < 1e-6 and result["figures"] < 1e-5
