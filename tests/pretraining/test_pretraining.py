"""Runs from shards to presets: every objective and family, going on, and what is refused."""

import dataclasses
import json
import re
import sys

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from tftransformer.checkpoints import load_preset
from tftransformer.config import TransformerConfig
from tftransformer.data.shard_batches import ShardBatches
from tftransformer.data.shards import open_shards
from tftransformer.errors import TransformerError
from tftransformer.finetuning.schedules import LinearSchedule
from tftransformer.models.encoder import build_encoder
from tftransformer.pretraining import callbacks
from tftransformer.pretraining.batches import TrainingBatches, for_evaluate
from tftransformer.pretraining.callbacks import read_log
from tftransformer.pretraining.pretrainer import MaskedLanguageModelling, Pretrainer, build_optimizer
from tftransformer.runs import pretraining
from tftransformer.runs.commands.running import Terminated
from tftransformer.runs.pretraining import prepare_shards, pretrain
from tftransformer.runs.pretraining_options import PretrainingOptions, TextOptions


@pytest.fixture
def options(tmp_path, shard_folder):
    return PretrainingOptions(
        shards=str(shard_folder), output_dir=str(tmp_path / "out"), num_layers=1, hidden_dim=8, num_heads=1,
        intermediate_dim=16, max_sequence_length=32, sequence_length=16, batch_size=4, warmup=2, learning_rate=3e-3,
        steps=2, sample_texts=20, heldout_batches=1,
    )  # fmt: skip


@pytest.mark.slow
def test_masked_lm_learns_more_than_word_frequencies(shard_folder):
    shards = open_shards(shard_folder)
    config = TransformerConfig(
        vocabulary_size=len(shards.tokenizer.vocabulary), num_layers=2, hidden_dim=32, num_heads=2,
        intermediate_dim=64, max_sequence_length=32, dropout=0.0,
    )  # fmt: skip
    kinds = {"sequence_length": 32, "batch_size": 16, "packed": True, "mask_rate": 0.2}
    held = for_evaluate(ShardBatches(shards, "heldout", **kinds).first(4))
    encoder = build_encoder(config)
    pretrainer = Pretrainer(encoder, config, [MaskedLanguageModelling(encoder, config)])
    # As anybody would train it, without a callback of ours.
    schedule = LinearSchedule(3e-3, total_steps=200, warmup=20, end_factor=0.9)
    pretrainer.compile(build_optimizer(schedule))
    before = pretrainer.evaluate(held, verbose=0, return_dict=True)["masked_lm"]
    training = TrainingBatches(ShardBatches(shards, **kinds)).for_fit()
    history = pretrainer.fit(training, steps_per_epoch=100, epochs=2, validation_data=held, verbose=0)
    after = history.history["val_masked_lm"][-1]
    assert int(pretrainer.optimizer.iterations) == 200
    # Five words a text: always was, the, movie; the other two are one of four each. Frequencies alone leave
    # ln 5 and more.
    assert before > 3.0
    assert after < 1.0


@pytest.mark.slow
def test_a_distillation_falls_leaves_a_preset_and_goes_on_where_it_ended(options, two_block_preset, tmp_path):
    options = dataclasses.replace(
        options, teacher=str(two_block_preset), objective="distillation", num_layers=2, steps=60, batch_size=16,
        learning_rate=1e-2, inherit=False,
    )  # fmt: skip
    assert pretrain(options)["step"] == 60
    preset = load_preset(options.output_dir)
    assert preset.pooling == "mean" and preset.config.hidden_dim == 8
    stated = json.loads((tmp_path / "out" / "preset.json").read_text())["task"]["pretraining"]
    assert stated["options"]["teacher"] == two_block_preset.name and str(tmp_path) not in json.dumps(stated)
    rows = read_log(tmp_path / "out.run" / "log.csv")
    assert rows[0]["step"] == 0 and rows[-1]["heldout_word"] < 0.8 * rows[0]["heldout_word"]
    assert (tmp_path / "out.run" / "curves.png").read_bytes()[:4] == b"\x89PNG"

    # A student that goes on aims where it aimed before: its loss starts where it ended.
    further = dataclasses.replace(options, preset=options.output_dir, output_dir=str(tmp_path / "more"), steps=1)
    pretrain(further)
    first = read_log(tmp_path / "more.run" / "log.csv")[0]
    assert first["heldout_word"] < rows[-1]["heldout_word"] + 0.1


@pytest.mark.slow
def test_masked_lm_goes_on_from_a_preset_with_its_head(options, two_block_preset, tmp_path, capsys):
    first = dataclasses.replace(options, preset=str(two_block_preset), sequence_length=16, steps=40, batch_size=8)
    end = pretrain(first)
    assert "the preset has no masked-LM head" in capsys.readouterr().out
    assert load_preset(first.output_dir).build_encoder() is not None, "who wants the encoder ignores the head"
    second = dataclasses.replace(first, preset=first.output_dir, output_dir=str(tmp_path / "second"), steps=1)
    pretrain(second)
    assert "a masked-LM head, which goes on too" in capsys.readouterr().out
    start = read_log(tmp_path / "second.run" / "log.csv")[0]
    # The preset is stored in float16.
    assert start["heldout_masked_lm"] == pytest.approx(end["heldout_masked_lm"], abs=0.02)


@pytest.mark.slow
def test_the_head_of_a_foreign_checkpoint_goes_on(options, tmp_path, two_block_preset, tiny_vocabulary):
    """A folder in Hugging Face's layout with the head of BertForMaskedLM."""
    from tftransformer.checkpoints import save_huggingface

    pretrain(dataclasses.replace(options, preset=str(two_block_preset)))
    preset = load_preset(options.output_dir)
    source = {name: np.asarray(preset.source.get(name), "float32") for name in preset.source.keys()}
    folder = tmp_path / "foreign"
    save_huggingface(folder, config=preset.config, tokenizer=preset.tokenizer.build(), variables=source, pooling="cls")
    assert "cls.predictions.transform.dense.weight" in load_file(folder / "model.safetensors")
    encoder, head = _weights_after_loading(options, folder, tmp_path)
    np.testing.assert_allclose(head, source["lm_head/dense/kernel"], atol=1e-6)
    tensors = load_file(folder / "model.safetensors")
    save_file({k: v for k, v in tensors.items() if "cls." not in k}, folder / "model.safetensors")
    assert np.abs(_weights_after_loading(options, folder, tmp_path)[1] - head).max() > 1e-3
    np.testing.assert_array_equal(_weights_after_loading(options, folder, tmp_path)[0], encoder)


def _weights_after_loading(options, folder, tmp_path):
    found = {}

    def train(options, shards, model, *_):
        found.update(model.addresses())

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pretraining, "_train", train)
        pretrain(dataclasses.replace(options, preset=str(folder), output_dir=str(tmp_path / "none")))
    return [np.asarray(found[name]) for name in ("encoder_block_1/attention/query/kernel", "lm_head/dense/kernel")]


@pytest.mark.slow
@pytest.mark.parametrize("family", ["bert", "distilbert", "roberta", "xlm_roberta", "electra", "albert"])
def test_every_family_of_encoders_trains_from_nothing(options, family):
    figures = pretrain(dataclasses.replace(options, family=family, num_layers=2, steps=150, batch_size=16))
    assert figures["heldout_perplexity"] < 30
    preset = load_preset(options.output_dir)
    assert preset.config.family == family
    preset.build_encoder()


@pytest.mark.slow
@pytest.mark.parametrize("objective", ["masked_lm", "distillation", "both"])
def test_a_run_in_two_parts_ends_bit_equal(options, two_block_preset, objective, tmp_path, monkeypatch):
    teacher = None if objective == "masked_lm" else str(two_block_preset)
    whole = dataclasses.replace(options, objective=objective, teacher=teacher, num_layers=2, steps=20)
    figures = pretrain(whole)
    if teacher:  # the student started as its teacher
        assert read_log(tmp_path / "out.run" / "log.csv")[0]["heldout_word"] < 0.3
    if objective == "both":
        assert {"masked_lm", "word", "sentence", "inner", "loss"} <= set(figures)

    class Stopping(callbacks.RunLength):
        def on_train_batch_end(self, batch, logs=None):
            super().on_train_batch_end(batch, logs)
            if self.figures["step"] == 10:
                raise Terminated  # SIGTERM; as Ctrl-C

    parts = dataclasses.replace(whole, output_dir=str(tmp_path / "parts"))
    with monkeypatch.context() as patch, pytest.raises(Terminated):
        patch.setattr(callbacks, "RunLength", Stopping)
        pretrain(parts)
    again = dataclasses.replace(parts, resume=True)
    ended = pretrain(again)
    assert pretrain(again) == ended, "a finished run that is resumed makes no further step"
    with np.load(tmp_path / "out.run" / "checkpoint.npz") as one:
        with np.load(tmp_path / "parts.run" / "checkpoint.npz") as two:
            for name in one.files:
                if not name.startswith("figure/"):
                    np.testing.assert_array_equal(one[name], two[name], err_msg=name)


# Held-out figures after 12 steps, made by the training loop that stood here before `fit` did the work (commit
# 8d4266c), with the same options.
GOLDEN = {
    "masked_lm": {"masked_lm": 4.4302696},
    "continued": {"masked_lm": 2.4941391},
    "distillation": {"inner": 0.10329908, "word": 0.11495220, "sentence": 3.0180635},
    "random": {"inner": 1.7920297, "word": 0.95806296, "sentence": 5.8429200},
    "both": {"masked_lm": 4.3381296, "inner": 0.19017430, "word": 0.22145914, "sentence": 4.0297896},
}


@pytest.mark.slow
@pytest.mark.parametrize("case", GOLDEN)
def test_figures_after_the_same_steps_stay(options, two_block_preset, case):
    options = dataclasses.replace(
        options, num_layers=2, warmup=3, steps=12, heldout_batches=2, teacher_dtype="float32",
        preset=str(two_block_preset) if case == "continued" else None,
        objective={"continued": "masked_lm", "random": "distillation"}.get(case, case),
        teacher=None if "masked_lm" in GOLDEN[case] and case != "both" else str(two_block_preset),
        inherit=case != "random",
    )  # fmt: skip
    figures = pretrain(options)
    assert figures["tokens"] == 672
    # Inherited weights solve nearly singular equations: with and without oneDNN the end differs by 5e-4.
    tolerance = 1e-3 if case in ("distillation", "both") else 1e-5
    for term, value in GOLDEN[case].items():
        assert figures[f"heldout_{term}"] == pytest.approx(value, rel=tolerance), term


@pytest.mark.slow
def test_a_run_resumes_with_its_own_data_and_preset_alone(options, two_block_preset):
    pretrain(dataclasses.replace(options, preset=str(two_block_preset)))
    resumed = dataclasses.replace(options, resume=True)
    with pytest.raises(TransformerError, match=r"had preset_weights=\w+; now it is none"):
        pretrain(resumed)
    with pytest.raises(TransformerError, match="the run to resume had seed=0; now it is 1"):
        pretrain(dataclasses.replace(resumed, preset=str(two_block_preset), seed=1))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"objective": "distill"}, "objective must be one of"),
        ({"objective": "both"}, "needs a teacher: --teacher=FOLDER"),
        ({"teacher": "somewhere"}, "has no use for a teacher"),
        ({"minutes": 2.0}, "give either minutes or steps"),
        ({"steps": 0}, "must be above 0; got 0"),
        ({"batch_size": 0}, "batch_size must be at least 1; got 0"),
        ({"sample_texts": 0}, "sample_texts must be at least 1; got 0"),
        ({"heldout_batches": 0}, "heldout_batches must be at least 1; got 0"),
        ({"sequence_length": 300}, "sequence_length must be between 8 and max_sequence_length, 32; got 300"),
        ({"sequence_length": 7}, "sequence_length must be between 8 and"),
        ({"dtype": "float16"}, "dtype must be one of float32, mixed_bfloat16; got 'float16'"),
        ({"teacher_dtype": "int8"}, "teacher_dtype must be one of float32, bfloat16; got 'int8'"),
        ({"mask_rate": 0.0}, "mask_rate must be above 0 and at most 1; got 0.0"),
        ({"learning_rate": float("nan")}, "learning_rate must be above 0; got nan"),
        ({"family": "brt"}, "family must be one of .*did you mean 'bert'"),
        ({"dropout": 1.5}, "dropout must be at least 0 and below 1; got 1.5"),
        ({"shards": "none"}, "shards must be a folder that `pretrain.py prepare` made"),
        ({"preset": "bert_12x192_en_uncased"}, "made with another vocabulary than the preset's"),
        (
            {"teacher": "bert_12x192_en_uncased", "objective": "distillation"},
            "hold no ids of this teacher; prepare them with --teacher=bert_12x192_en_uncased",
        ),
    ],
)
def test_options_are_checked_before_any_work(options, changes, message):
    with pytest.raises(TransformerError, match=message) as caught:
        pretrain(dataclasses.replace(options, **changes))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["out", "out.run"])
def test_a_folder_with_files_is_left_alone(options, tmp_path, name):
    (tmp_path / name).mkdir()
    (tmp_path / name / "mine.txt").write_text("precious")
    with pytest.raises(TransformerError, match=re.escape(f"{name} holds files already; choose another")):
        pretrain(options)
    assert (tmp_path / name / "mine.txt").read_text() == "precious"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"vocabulary": "a", "preset": "b"}, "give vocabulary or preset, whose tokenizer is taken; got both"),
        ({"heldout_fraction": 0.5}, "heldout_fraction must be above 0 and below 0.5; got 0.5"),
        ({"vocabulary_size": 0}, "vocabulary_size must be at least 1; got 0"),
        ({"vocabulary_paragraphs": 0}, "vocabulary_paragraphs must be at least 1; got 0"),
        ({"texts": ("none.txt",)}, "there is no file or folder none.txt"),
        ({"vocabulary": "none.txt"}, "none.txt"),
        ({"preset": "bert_12x192_en_uncasd"}, "did you mean 'bert_12x192_en_uncased'"),
    ],
)
def test_preparing_is_checked_too(tmp_path, text_file, changes, message):
    options = TextOptions(texts=(str(text_file),), output_dir=str(tmp_path / "out"))
    with pytest.raises(TransformerError, match=message):
        prepare_shards(dataclasses.replace(options, **changes))
    assert not (tmp_path / "out").exists()


def test_preparing_without_tensorflow_says_what_it_needs(tmp_path, text_file, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow_text", None)  # what importing it then does is fail
    with pytest.raises(TransformerError, match="prepare needs tensorflow and tensorflow-text"):
        prepare_shards(TextOptions((str(text_file),), str(tmp_path / "out")))


def test_a_vocabulary_is_learned_where_none_is_given(tmp_path, text_file):
    prepare_shards(TextOptions((str(text_file),), str(tmp_path / "out"), vocabulary_size=120))
    vocabulary = open_shards(tmp_path / "out").tokenizer.vocabulary
    assert 60 < len(vocabulary) <= 120 and "movie" in vocabulary
