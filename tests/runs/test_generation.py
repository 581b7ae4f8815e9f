"""A run of generate: what it leaves, goes on with, writes, answers and refuses; small sizes throughout."""

import dataclasses
import io
import json

import numpy as np
import pytest
import tensorflow as tf

import tftransformer as tt
from tftransformer.data.chat import ROLES
from tftransformer.data.split import Split, Splits
from tftransformer.errors import TransformerError
from tftransformer.evaluation import KneserNey
from tftransformer.models.generation import BeamSearch, Greedy, MinLength, NoRepeatNgrams, RepetitionPenalty, Sampling
from tftransformer.runs import generation, text_writing
from tftransformer.runs.generation_options import DecodingOptions, GenerationOptions
from tftransformer.runs.progress_lines import EpochFigures
from tftransformer.runs.text_training import BestEpoch

COLOURS, THINGS = ("red", "blue", "green", "black"), ("house", "dog", "tree", "cat")
LINES = [f"A {c} {t} saw a {d} {u}." for c in COLOURS for t in THINGS for d in COLOURS[:3] for u in THINGS[:2]]
SMALL = dict(
    vocabulary_size=300, num_layers=1, hidden_dim=16, num_heads=2, intermediate_dim=32, sequence_length=96, dropout=0.0,
    batch_size=16, warmup=4, unit="line",
)  # fmt: skip
BRIEF = {"role": "system", "content": "Brief."}


def chat(colour, thing):
    said = [
        ("user", f"A {colour}?"),
        ("assistant", f"No, a {thing}."),
        ("user", "Why?"),
        ("assistant", f"It is {colour}."),
    ]
    return {"messages": [BRIEF, *({"role": role, "content": content} for role, content in said)]}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    rows = np.random.default_rng(0).permutation(LINES).tolist()
    (folder / "lines.txt").write_text("\n".join(rows) + "\n", encoding="utf-8")
    chats = [json.dumps(chat(colour, thing)) for colour in COLOURS for thing in THINGS]
    (folder / "chats.jsonl").write_text("\n".join(chats) + "\n", encoding="utf-8")
    return folder


def options(data, folder, name="lines.txt", **changes):
    return GenerationOptions(
        **{"dataset": str(data / name), "output_dir": str(folder), **SMALL, "epochs": 2, "max_new_tokens": 8, **changes}
    )


@pytest.fixture(scope="module")
def finished(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "run"
    return folder, generation.train(options(data, folder))


@pytest.fixture(scope="module")
def talking(data, finished, tmp_path_factory):
    """A run that goes on from plain texts with chats."""
    folder = tmp_path_factory.mktemp("runs") / "chats"
    kept = {name: GenerationOptions.__dataclass_fields__[name].default for name in generation.NETWORK}
    return folder, generation.train(options(data, folder, "chats.jsonl", init_from=str(finished[0]), **kept))


def test_it_leaves_a_report_a_model_and_curves(finished):
    folder, report = finished
    metrics = json.loads((folder / "metrics.json").read_text())
    text = (folder / "report.txt").read_text()
    assert str(report) in text and "Kneser-Ney 5-grams" in text and "Samples:" in text and " |" in text
    assert metrics["test"] == report.to_dict() and list(report.systems) == ["this model", "Kneser-Ney 5-grams"]
    assert [set(found) for found in report.systems.values()] == [{"token", "word", "byte"}] * 2
    assert len(metrics["train"]["epochs"]) == 2 and (folder / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert not (folder / "checkpoint").exists()


def test_figures_are_of_the_same_tokens_and_of_the_best_epoch(finished, data):
    folder, report = finished
    model = tt.load(folder / "model")
    model.compile()
    splits = generation.read_splits(options(data, folder))
    assert model.perplexities(splits.test) == pytest.approx(report.systems["this model"], rel=1e-5)
    tokens = {
        name: [[*model.tokenizer.encode(text), model.tokenizer.separator_id] for text in split.texts]
        for name, split in splits.present().items()
    }
    baseline = KneserNey(tokens["train"], model.config.vocabulary_size).log_probabilities(tokens["test"])
    assert len(baseline) == report.tokens
    assert report.systems["Kneser-Ney 5-grams"]["token"] == pytest.approx(np.exp(-baseline.mean()))
    trained = json.loads((folder / "metrics.json").read_text())["train"]
    losses = [epoch["val_loss"] for epoch in trained["epochs"]]
    assert trained["best_epoch"] == 1 + int(np.argmin(losses))
    found = model.perplexities(splits.validation)["token"]
    assert np.log(found) == pytest.approx(min(losses), rel=1e-4)


def test_what_is_served_is_what_its_search_writes(finished):
    folder, _ = finished
    model = tt.load(folder / "model")
    served = tf.saved_model.load(str(folder / "saved_model" / "1")).signatures["serving_default"]
    for prompt in ("A red dog", "A"):  # one by one: a draw depends on the place in the batch
        found = served(text=tf.constant([prompt]))["text"].numpy()[0].decode()
        assert [found] == model.generate([prompt], max_new_tokens=model.longest_written)


def test_a_model_of_texts_learns_to_answer(talking):
    folder, report = talking
    assert list(report.systems) == ["this model", "before this run", "Kneser-Ney 5-grams"]
    assert tt.load(folder / "model").text_pairs
    assert report.systems["this model"]["token"] < report.systems["before this run"]["token"]
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["data"]["train"]["left_out"] == 0 and "former_test" not in metrics
    assert "<|system|>Brief.<|user|>" in (folder / "report.txt").read_text()


def test_the_baseline_of_answers_is_of_their_tokens_alone(talking, data):
    folder, report = talking
    model = tt.load(folder / "model")
    splits, _ = generation.fitting(generation.read_splits(options(data, folder, "chats.jsonl")), model)
    end = model.tokenizer.separator_id

    def whole(split):
        return [[*model.tokenizer.encode(h), end, *model.tokenizer.encode(a), end] for h, a in split.texts]

    scores = KneserNey(whole(splits.train), model.config.vocabulary_size).log_probabilities(whole(splits.test))
    places = np.cumsum([0] + [len(ids) for ids in whole(splits.test)])
    answers = [len(model.tokenizer.encode(answer)) + 1 for _, answer in splits.test.texts]
    counted = np.concatenate([scores[stop - n : stop] for stop, n in zip(places[1:], answers, strict=True)])
    assert len(counted) == report.tokens
    assert report.systems["Kneser-Ney 5-grams"]["token"] == pytest.approx(np.exp(-counted.mean()))


def test_long_histories_lose_their_oldest_turns_and_long_answers_are_left_out(talking):
    model = tt.load(talking[0] / "model")
    long = "<|system|>Brief.<|user|>A red?<|assistant|>No, a house.<|user|>Why? " + "red " * 50 + "<|user|>Why?"
    pairs = [(long, "It is red."), ("Why?", "red " * 120), ("Why?", "It is red.")]
    splits, found = generation.fitting(Splits(Split(pairs), None, None), model)
    assert splits.train.texts == [("<|system|>Brief.<|user|>Why?", "It is red."), pairs[2]]
    assert found == {"train": {"texts": 2, "shortened": 1, "left_out": 1}}
    with pytest.raises(TransformerError, match="sequence_length must have room for pairs of the train split"):
        generation.fitting(Splits(Split(pairs[1:2]), None, None), model)


def writer(folder, **settings):
    return text_writing.Writer(tt.load(folder / "model"), DecodingOptions(**settings), seed=3)


def test_what_streams_is_what_is_written_at_once(finished, tmp_path, capsys):
    one = writer(finished[0], temperature=0.8, top_p=0.9, max_new_tokens=8)
    assert text_writing.generate(one, ["A red dog"]) == one.write(["A red dog"])
    assert capsys.readouterr().out == f"A red dog{one.write(['A red dog'])[0][0]}\n"
    greedy = writer(finished[0], search="greedy", max_new_tokens=8, no_repeat_ngram=2, min_new_tokens=2)
    assert text_writing.generate(greedy, ["A red dog"]) == greedy.write(["A red dog"])
    capsys.readouterr()
    beams = writer(finished[0], search="beams", num_beams=3, num_texts=2, max_new_tokens=4)
    found = text_writing.generate(beams, ["A red", "A"], str(tmp_path / "out.txt"))
    assert [len(texts) for texts in found] == [2, 2]
    lines = (tmp_path / "out.txt").read_text().splitlines()
    assert lines == [" ".join((p + t).split()) for p, texts in zip(["A red", "A"], found, strict=True) for t in texts]
    drawn = writer(finished[0], temperature=2.0, num_texts=3, max_new_tokens=8).write(["A red"])
    assert len(drawn[0]) == 3 and len(set(drawn[0])) > 1


def test_every_setting_reaches_the_search(finished):
    settings = {"temperature": 0.7, "top_k": 5, "top_p": 0.9, "min_p": 0.1}
    assert text_writing.Writer.search_of(DecodingOptions(**settings), 3) == Sampling(**settings, seed=3)
    settings = {"num_beams": 5, "length_penalty": 0.5, "num_texts": 2}
    assert text_writing.Writer.search_of(DecodingOptions("beams", **settings)) == BeamSearch(**settings)
    asked = writer(finished[0], repetition_penalty=1.3, no_repeat_ngram=3)
    assert asked.constraints == (RepetitionPenalty(1.3), NoRepeatNgrams(3))


def test_a_dialogue_shows_the_model_what_fits_of_it(talking, capsys, monkeypatch):
    one = writer(talking[0], search="greedy", max_new_tokens=8)
    seen, answers = [], iter([["No, a", " dog."], [], ["It is<|user|>", " red."], ["It is red."], ["No, a cat."]])

    def answered(prompt, **arguments):
        seen.append(prompt)
        return iter(next(answers))

    monkeypatch.setattr(one.task, "stream", answered)
    lines = ["A red?", "", "So?", "A <|user|>?", "red " * 120, "Why?", "Why so?", "A blue?"]
    said = text_writing.chat(one, io.StringIO("\n".join(lines)), system="Brief.")
    told = capsys.readouterr().out.splitlines()
    assert [line for line in told if not line.startswith("not sent: ")] == [
        "No, a dog.", "", "It is<|user|> red.", "It is red.", "No, a cat.",
    ]  # fmt: skip
    assert sum(line.startswith("not sent: ") for line in told) == 2
    turns = [("A red?", "No, a dog."), ("Why?", "It is red."), ("Why so?", "It is red."), ("A blue?", "No, a cat.")]
    assert said == [("system", "Brief."), *((role, text) for turn in turns for role, text in zip(ROLES[1:], turn))]
    # So? had no answer, and is no part of what is remembered.
    assert [text.rpartition("<|user|>")[2] for text in seen] == ["A red?", "So?", "Why?", "Why so?", "A blue?"]
    first = "<|system|>Brief.<|user|>A red?"
    assert seen[0] == first and seen[2] == f"{first}<|assistant|>No, a dog.<|user|>Why?"
    assert all(text.startswith("<|system|>Brief.<|user|>") for text in seen) and "A red?" not in seen[-1]
    assert all(one.prompt_length(text) + 8 <= one.task.sequence_length for text in seen)


def test_a_dialogue_is_answered_by_the_model(talking, capsys):
    one = writer(talking[0], search="greedy", max_new_tokens=8, min_new_tokens=8)
    text_writing.chat(one, io.StringIO("A red?\n"), system="Brief.")
    told = capsys.readouterr().out
    assert (
        told
        == one.task.generate(
            ["<|system|>Brief.<|user|>A red?"], search=Greedy(), max_new_tokens=8, constraints=[MinLength(8)]
        )[0]
        + "\n"
    )


@pytest.mark.slow
def test_an_interrupted_run_goes_on_behind_its_last_epoch_with_its_best_one(data, tmp_path, monkeypatch, capsys):
    settings = {"epochs": 4}
    # The second epoch is the best one, whatever this machine's arithmetic makes of the data.
    watched = BestEpoch.on_epoch_end
    monkeypatch.setattr(
        BestEpoch,
        "on_epoch_end",
        lambda self, epoch, logs=None: watched(self, epoch, {"val_loss": (3, 1, 2, 4)[epoch]}),
    )
    whole = generation.train(options(data, tmp_path / "whole", **settings))
    ends = EpochFigures.on_epoch_end

    def interrupted(self, epoch, logs=None):
        if epoch == 3:
            raise KeyboardInterrupt
        ends(self, epoch, logs)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(EpochFigures, "on_epoch_end", interrupted)
        generation.train(options(data, tmp_path / "torn", **settings))
    capsys.readouterr()
    report = generation.train(options(data, tmp_path / "torn", **settings))
    said = capsys.readouterr().out
    assert "behind its last finished epoch" in said and "epoch 4/4" in said and "epoch 3/4" not in said
    assert report == whole
    best = [
        json.loads((tmp_path / name / "metrics.json").read_text())["train"]["best_epoch"] for name in ("whole", "torn")
    ]
    assert best == [2, 2]
    same = [tt.load(tmp_path / name / "model") for name in ("whole", "torn")]
    for one, other in zip(*(tt.patterns.addresses(task).items() for task in same), strict=True):
        assert one[0] == other[0] and (one[1].numpy() == other[1].numpy()).all()


@pytest.mark.slow
def test_a_run_goes_on_with_other_texts_and_both_tests_are_scored(finished, data, tmp_path):
    network = {name: GenerationOptions.__dataclass_fields__[name].default for name in generation.NETWORK}
    more = options(data, tmp_path / "more", init_from=str(finished[0]), epochs=1, seed=5, **network)
    report = generation.train(more)
    assert list(report.systems) == ["this model", "before this run", "Kneser-Ney 5-grams"]
    former = json.loads((tmp_path / "more" / "metrics.json").read_text())["former_test"]
    assert former["systems"]["before this run"] == pytest.approx(finished[1].systems["this model"], rel=1e-5)
    preset = dataclasses.replace(
        more, init_from=None, preset=str(finished[0] / "model"), output_dir=str(tmp_path / "p")
    )
    assert generation.train(preset).systems["before this run"] == report.systems["before this run"]


def test_what_cannot_be_is_said_in_a_line_before_a_folder_is_made(data, tmp_path, finished):
    (tmp_path / "empty.txt").write_text("")
    (tmp_path / "short.txt").write_text("One line.\n")
    (tmp_path / "role.jsonl").write_text('{"messages": [{"role": "robot", "content": "Hi"}]}\n')
    for changes, told in (
        ({"dataset": str(tmp_path / "nothing.txt")}, "does not exist"),
        ({"dataset": str(tmp_path / "empty.txt")}, "is empty"),
        ({"dataset": str(tmp_path / "short.txt")}, "a run needs a validation split"),
        ({"dataset": str(tmp_path / "role.jsonl")}, "role.jsonl:1: message 1: role must be one of"),
        ({"init_from": str(tmp_path)}, "run's folder"),
        ({"preset": "bert_12x192_en_uncased"}, "needs a preset with a decoder"),
        ({"preset": str(tmp_path / "gpt3")}, "gpt3"),
        ({"strategy": "loar:3"}, "did you mean 'lora'"),
        ({"search": "beams", "num_beams": 9999}, "num_beams must be at most"),
        ({"output_dir": str(finished[0])}, "must not hold a finished run"),
    ):
        with pytest.raises(TransformerError, match=told) as raised:
            generation.train(options(data, tmp_path / "run", **changes))
        assert "\n" not in str(raised.value) and not (tmp_path / "run").exists()


def test_what_cannot_be_written_is_said_before_anything_is_printed(finished, talking, capsys):
    for call, told in (
        (
            lambda: text_writing.generate(writer(finished[0]), ["red " * 120]),
            "a prompt must leave room in sequence_length",
        ),
        (
            lambda: text_writing.generate(writer(finished[0], max_new_tokens=95), ["A red"]),
            "max_new_tokens must be at most",
        ),
        (lambda: text_writing.chat(writer(finished[0])), "needs a model that was trained on answers"),
        (lambda: text_writing.chat(writer(talking[0]), system="red " * 120), "must leave room for messages"),
        (lambda: text_writing.chat(writer(talking[0], max_new_tokens=96)), "must leave room for messages"),
        (lambda: text_writing.loaded(None, "bert_12x192_en_uncased"), "needs a preset with a decoder"),
    ):
        capsys.readouterr()
        with pytest.raises(TransformerError, match=told) as raised:
            call()
        assert "\n" not in str(raised.value)
        assert not [line for line in capsys.readouterr().out.splitlines() if not line.startswith("loading ")]
