"""Texts for `--mode=predict`, and the file of answers."""

import csv
import json
import os

import pytest

from tftransformer.errors import TransformerError
from tftransformer.runs.predictions import check_output, pair_up, texts_to_predict, write_answers
from tftransformer.tasks.labelled import Answer


def test_second_texts_go_with_first_texts():
    assert pair_up(["a"], None) == ["a"]
    assert pair_up(["a"], ["b"]) == [("a", "b")]
    with pytest.raises(TransformerError, match="text_pair must be given once for each text"):
        pair_up(["a"], ["b", "c"])


TEXTS = ["good, very\ngood", 'a "bad" film', "plain"]


@pytest.mark.parametrize("kind", ["csv", "tsv", "jsonl"])
def test_texts_of_every_kind_of_file(tmp_path, kind):
    path = tmp_path / f"new.{kind}"
    if kind == "jsonl":
        path.write_text("".join(json.dumps({"id": i, "body": t}) + "\n" for i, t in enumerate(TEXTS)))
    else:
        with open(path, "w", newline="") as file:
            writer = csv.writer(file, delimiter="\t" if kind == "tsv" else ",")
            writer.writerows([("id", "body"), *enumerate(TEXTS)])
    assert texts_to_predict([], path, ["body"]) == TEXTS
    assert texts_to_predict([], path) == TEXTS


def test_texts_of_plain_lines(tmp_path):
    (tmp_path / "new.txt").write_text("one\n\ntwo\n")
    assert texts_to_predict([], tmp_path / "new.txt") == ["one", "two"]


def test_texts_are_given_in_one_way(tmp_path):
    (tmp_path / "blank.csv").write_text("text\n")
    with pytest.raises(TransformerError, match="predict needs a text"):
        texts_to_predict([], None)
    with pytest.raises(TransformerError, match="text cannot go with texts"):
        texts_to_predict(["a"], tmp_path / "blank.csv")
    with pytest.raises(TransformerError, match="blank.csv has a header row but no rows"):
        texts_to_predict([], tmp_path / "blank.csv")


def test_answers_are_a_row_a_text_with_all_probabilities(tmp_path):
    answers = [
        Answer("b", 0.75, {"a": 0.25, "b": 0.75}),
        Answer(("a", "b"), (0.9, 0.8), {"a": 0.9, "b": 0.8}),
        Answer((), (), {"a": 0.1, "b": 0.2}),
    ]
    write_answers(tmp_path / "out.csv", TEXTS, answers, ["a", "b"])
    with open(tmp_path / "out.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    assert rows == [
        ["text", "label", "probability_a", "probability_b"],
        [TEXTS[0], "b", "0.250000", "0.750000"],
        [TEXTS[1], "a|b", "0.900000", "0.800000"],
        [TEXTS[2], "", "0.100000", "0.200000"],
    ]
    write_answers(tmp_path / "out.csv", [("x", "y")], answers[:1], ["a", "b"])
    assert (tmp_path / "out.csv").read_text() == (
        "text,text_pair,label,probability_a,probability_b\nx,y,b,0.250000,0.750000\n"
    )


def test_half_a_surrogate_pair_is_no_traceback(tmp_path):
    # What a shell's bytes that are no UTF-8 become in sys.argv.
    write_answers(tmp_path / "out.csv", ["caf\udce9"], [Answer("a", 1.0, {"a": 1.0})], ["a"])
    assert (tmp_path / "out.csv").read_bytes().splitlines()[1] == b"caf\\udce9,a,1.000000"


def test_half_a_file_is_never_left(tmp_path):
    def answers():
        yield Answer("a", 1.0, {"a": 1.0})
        raise MemoryError

    with pytest.raises(MemoryError):
        write_answers(tmp_path / "out.csv", TEXTS, answers(), ["a"])
    assert os.listdir(tmp_path) == []


def test_a_file_that_could_not_be_written_is_refused_beforehand(tmp_path):
    (tmp_path / "old.csv").write_text("")
    (tmp_path / "folder.csv").mkdir()
    check_output(tmp_path / "new.csv")
    check_output(tmp_path / "old.csv", overwrite=True)
    for name, message in (
        ("new.txt", "output must end in .csv; got"),
        ("old.csv", "output must be a new file; .*old.csv exists: pass overwrite=True"),
        ("folder.csv", "output must be a new file; .* is a folder"),
        ("no/new.csv", "output must be in a folder that can be written; .*no does not exist"),
    ):
        with pytest.raises(TransformerError, match=message):
            check_output(tmp_path / name)
