"""Masked-LM and distillation learn, stop when told, and refuse what cannot work."""

import dataclasses
import itertools
import json

import numpy as np
import pytest

from tftransformer.checkpoints import load_preset
from tftransformer.config import TransformerConfig
from tftransformer.data.pretraining import PretrainingBatches, spell_pieces
from tftransformer.data.tokenizers import WordPieceTokenizer
from tftransformer.errors import TransformerError
from tftransformer.experiments.pretraining import PretrainingOptions, pretrain
from tftransformer.models.encoder import build_encoder
from tftransformer.training.pretraining import Pretrainer

# Each text tells its last word by its first, so that who looks at the text can guess what frequency cannot.
TEXTS = [
    f"{a} was the {b} movie"
    for a, b in (("good", "great"), ("bad", "awful"), ("slow", "dull"), ("quick", "bright"))
]


@pytest.fixture(scope="module")
def tokenizer(tiny_vocabulary):
    return WordPieceTokenizer(tiny_vocabulary)


@pytest.fixture(scope="module")
def config(tiny_vocabulary):
    return TransformerConfig(
        vocabulary_size=len(tiny_vocabulary), num_layers=2, hidden_dim=32, num_heads=2, intermediate_dim=64,
        max_sequence_length=16, dropout=0.0,
    )  # fmt: skip


def test_masked_lm_learns_more_than_word_frequencies(config, tokenizer):
    batches = PretrainingBatches(TEXTS * 8, tokenizer, max_length=16, batch_tokens=256, mask_rate=0.2)
    pretrainer = Pretrainer(build_encoder(config), config, "masked_lm", learning_rate=3e-3, warmup=20)
    held = next(
        iter(PretrainingBatches(TEXTS * 8, tokenizer, max_length=16, batch_tokens=512, mask_rate=0.2, seed=9))
    )
    before = float(pretrainer.losses(held)["masked_lm"])
    pretrainer.train(batches, steps=250)
    after = float(pretrainer.losses(held)["masked_lm"])
    # Five words a text: always was, the, movie; the other two are one of four each. Frequencies alone leave
    # ln 5 and more.
    assert before > 3.0
    assert after < 1.0


def test_distillation_falls_and_both_objectives_report_their_terms(tiny_preset, tmp_path):
    texts = tmp_path / "a.txt"
    texts.write_text("\n".join(TEXTS * 20))
    vocabulary = tiny_preset / "vocab.txt"
    options = PretrainingOptions(
        texts=(str(texts),), teacher=str(tiny_preset), objective="distillation", vocabulary=str(vocabulary),
        output_dir=str(tmp_path / "out"), num_layers=3, hidden_dim=8, num_heads=1, intermediate_dim=16,
        max_sequence_length=32, max_length=16, batch_size=16, warmup=5, learning_rate=3e-3, steps=60,
    )  # fmt: skip
    figures = pretrain(options)
    assert figures["step"] == 60 and figures["word"] < 0.9
    preset = load_preset(str(tmp_path / "out"))
    assert preset.pooling == "mean" and preset.config.hidden_dim == 8
    preset.build_encoder()
    stated = json.loads((tmp_path / "out" / "preset.json").read_text())["task"]["pretraining"]
    assert stated["teacher"] == tiny_preset.name and str(tmp_path) not in json.dumps(stated)

    both = dataclasses.replace(
        options, objective="both", steps=2, output_dir=str(tmp_path / "both"), inherit=False
    )
    assert {"masked_lm", "word", "sentence", "inner", "loss"} <= set(pretrain(both))


def test_a_vocabulary_is_learned_where_none_is_given(tmp_path):
    texts = tmp_path / "a.txt"
    texts.write_text("\n".join(TEXTS))
    options = PretrainingOptions(
        texts=(str(texts),), output_dir=str(tmp_path / "out"), vocabulary_size=150, num_layers=1,
        hidden_dim=8, num_heads=1, intermediate_dim=16, max_length=16, batch_size=4, steps=1,
    )  # fmt: skip
    pretrain(options)
    assert len(load_preset(str(tmp_path / "out")).vocabulary) == 150


def test_training_stops_by_steps_or_by_the_clock_and_takes_snapshots(config, tokenizer):
    batches = PretrainingBatches(TEXTS, tokenizer, max_length=16, batch_tokens=64, mask_rate=0.2)
    pretrainer = Pretrainer(build_encoder(config), config)
    taken = []
    figures = pretrainer.train(
        batches, steps=4, snapshot=lambda f: taken.append(dict(f)), snapshot_minutes=0.0
    )
    assert figures["step"] == 4 and len(taken) == 5 and figures["tokens"] > 0
    figures = pretrainer.train(batches, minutes=0.02)
    assert 1.0 < figures["seconds"] < 10.0


def test_a_loss_that_is_not_finite_stops_the_run(config, tokenizer):
    encoder = build_encoder(config)
    pretrainer = Pretrainer(encoder, config)
    encoder.get_layer("embeddings").token.embeddings.assign(np.full((config.vocabulary_size, 32), np.nan))
    batches = PretrainingBatches(TEXTS, tokenizer, max_length=16, batch_tokens=64, mask_rate=0.2)
    with pytest.raises(TransformerError, match="the loss is nan at step 1; lower learning_rate"):
        pretrainer.train(batches, steps=3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"objective": "masked_ml"}, "objective must be one of .*; did you mean 'masked_lm'"),
        ({"objective": "both"}, "objective 'both' needs a teacher"),
        ({"learning_rate": 0.0}, "learning_rate must be above 0; got 0.0"),
        ({"warmup": -1}, "warmup must be at least 0; got -1"),
    ],
)
def test_a_pretrainer_refuses(config, arguments, message):
    with pytest.raises(TransformerError, match=message):
        Pretrainer(build_encoder(config), config, **arguments)


@pytest.mark.parametrize("length", [{}, {"minutes": 1, "steps": 1}, {"minutes": 0.0}, {"steps": -1}])
def test_training_needs_one_sensible_length(config, length):
    with pytest.raises(TransformerError, match="minutes"):
        Pretrainer(build_encoder(config), config).train([], **length)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"objective": "distill"}, "objective must be one of"),
        ({"objective": "both"}, "needs a teacher: --teacher=FOLDER"),
        ({"teacher": "somewhere"}, "has no use for a teacher"),
        ({"minutes": 2.0}, "give either minutes or steps"),
        ({"steps": 0}, "steps must be above 0; got 0"),
        ({"batch_size": 0}, "batch_size must be at least 1; got 0"),
        ({"max_length": 300}, "max_length must be between 8 and max_sequence_length, 256; got 300"),
    ],
)
def test_options_are_checked_before_any_work(tmp_path, changes, message):
    options = PretrainingOptions(texts=("none.txt",), output_dir=str(tmp_path / "out"), steps=1)
    with pytest.raises(TransformerError, match=message):
        pretrain(dataclasses.replace(options, **changes))


def test_a_folder_with_files_is_left_alone(tmp_path):
    (tmp_path / "mine.txt").write_text("precious")
    options = PretrainingOptions(texts=(str(tmp_path),), output_dir=str(tmp_path), steps=1)
    with pytest.raises(TransformerError, match="holds files already"):
        pretrain(options)
    assert (tmp_path / "mine.txt").read_text() == "precious"


def test_texts_without_words_are_an_error(tmp_path, tokenizer):
    (tmp_path / "a.txt").write_text("\n \n")
    options = PretrainingOptions(texts=(str(tmp_path / "a.txt"),), output_dir=str(tmp_path / "out"), steps=1)
    with pytest.raises(TransformerError, match="at least one word"):
        pretrain(options)
    with pytest.raises(TransformerError, match="at least one text"):
        PretrainingBatches([], tokenizer)


def test_words_of_student_and_teacher_agree(tiny_vocabulary, tokenizer):
    letters = WordPieceTokenizer(
        [piece for piece in tiny_vocabulary if piece not in ("good", "movie", "great")]
    )
    batches = PretrainingBatches(TEXTS, tokenizer, max_length=32, batch_tokens=256, teacher_tokenizer=letters)
    batch = next(iter(batches))
    assert batch["token_ids"].shape[1] < batch["teacher_token_ids"].shape[1]
    assert batch["words"].max(axis=1).tolist() == batch["teacher_words"].max(axis=1).tolist()


def test_epochs_differ_and_seeds_repeat(tokenizer):
    texts = [f"{a} {b}" for a in ("good", "bad", "slow") for b in ("plot", "film", "music")]

    def first(seed, number=1):
        batches = iter(PretrainingBatches(texts, tokenizer, max_length=16, batch_tokens=1000, seed=seed))
        return [batch["token_ids"].tolist() for batch in itertools.islice(batches, number)]

    assert first(0) == first(0)
    one, two = first(0, 2)
    assert one != two and sorted(one) == sorted(two)


def test_unknown_characters_are_spelled_as_unknown():
    assert spell_pieces(["x", "ab", "##ab"], ["[UNK]", "a", "##b", "##a"], 0) == [[0], [1, 2], [3, 2]]
