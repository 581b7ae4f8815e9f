"""The report on tags, and the baselines it shows."""

import json

import pytest

from tftransformer.errors import TransformerError
from tftransformer.evaluation.tagging import entity_metrics
from tftransformer.evaluation.tagging_report import (
    TaggingReport,
    crf_baseline,
    most_frequent_tag_baseline,
    word_features,
)

WORDS = [["to", "Rome", "in", "May"], ["May", "is", "here"], ["in", "May"]]
TAGS = [["O", "B-PLACE", "O", "B-DATE"], ["B-PERSON", "O", "O"], ["O", "B-DATE"]]


def test_a_report_shows_types_intervals_partial_matches_and_baselines():
    m = entity_metrics(TAGS, TAGS)
    weaker = entity_metrics(TAGS, [["O", "O", "O", "B-DATE"], ["B-DATE", "O", "O"], ["O", "B-DATE"]])
    report = TaggingReport(m, [{"name": "look-up", **weaker}], title="Held out")
    text = str(report)
    assert text.startswith("Held out: 3 sentences, 9 words, 4 entities of 3 types")
    for part in ("PLACE", "entity F1", "1.0000 (1.0000-1.0000)", "missed", "look-up", f"{1 - weaker['micro_f1']:+.4f}"):
        assert part in text
    assert json.loads(json.dumps(report.to_dict()))["baselines"][0]["name"] == "look-up"
    assert report["micro_f1"] == 1 and "micro_f1=1.0000" in repr(report)


def test_plain_tags_have_no_entities_in_their_report():
    text = str(TaggingReport(entity_metrics([["N", "V"]], [["N", "N"]])))
    assert text.startswith("Test: 1 sentence, 2 words, 2 tags") and "entit" not in text.lower()


def test_words_have_their_most_frequent_tag():
    assert most_frequent_tag_baseline(WORDS, TAGS, [["May", "Rome", "unseen"], []]) == [["B-DATE", "B-PLACE", "O"], []]


def test_the_crf_reads_the_neighbours():
    pytest.importorskip("pycrfsuite")
    assert crf_baseline(WORDS, TAGS, [["May", "is"], ["in", "May"], []]) == [["B-PERSON", "O"], ["O", "B-DATE"], []]


def test_features_of_words_and_neighbours():
    first, second = word_features(["BA-117", "lands"])
    assert {"first", "word=ba-117", "shape=X-0", "has_digit", "upper", "suffix2=17", "+1:word=lands"} <= set(first)
    assert {"last", "-1:shape=X-0", "-1|0:ba-117|lands"} <= set(second) and "capital" not in second


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: TaggingReport(entity_metrics(TAGS, TAGS), [{"tokens": 9}]), "baselines must each have a name"),
        (lambda: TaggingReport(entity_metrics(TAGS, TAGS), [{"name": "x", "tokens": 8}]), "of the same 9 words; x has 8"),
        (lambda: most_frequent_tag_baseline([], [], WORDS), "train_tags must be as many rows as train_words"),
        (lambda: crf_baseline([["a"]], [["O", "O"]], WORDS), "row 0 has 2 for 1"),
        (lambda: crf_baseline(WORDS, TAGS, WORDS, iterations=0), "iterations must be"),
    ],
)  # fmt: skip
def test_mistakes_are_told(call, message):
    with pytest.raises(TransformerError, match=message):
        call()
