"""Scores of summaries are rouge-score's; intervals and paired tests keep their laws; leads and best sentences are what they say."""

import sys

import numpy as np
import pytest

from tftransformer.errors import TransformerError
from tftransformer.evaluation import summary_report
from tftransformer.evaluation.summarization import (
    BEST,
    MEAN,
    MEASURES,
    OF_BEST,
    Rouge,
    best_for_all,
    best_sentences,
    choose_lead,
    lead,
    sentence_splitter,
)

rouge_scorer = pytest.importorskip("rouge_score.rouge_scorer")

WORDS = "models learning the of networks trained summaries quickly a running runs houses".split()


def texts(number, seed, length=12):
    draw = np.random.default_rng(seed)
    return [" ".join(draw.choice(WORDS, draw.integers(1, length))) for _ in range(number)]


REFERENCES = [
    tuple(found) for found in np.array_split(np.array(texts(70, 0), object), np.cumsum(1 + np.arange(30) % 3)[:-1])
]
WRITTEN = [found[-1] if i % 3 else text for i, (found, text) in enumerate(zip(REFERENCES, texts(30, 1)))]


@pytest.mark.parametrize("stemmer", [True, False])
def test_scores_are_those_of_rouge_score(stemmer):
    scorer = rouge_scorer.RougeScorer(list(MEASURES.values()), use_stemmer=stemmer)
    found = Rouge(stemmer)(WRITTEN, REFERENCES)
    for row, (text, several) in enumerate(zip(WRITTEN, REFERENCES)):
        multi = scorer.score_multi(list(several), text)
        assert found[BEST][row] == pytest.approx([100 * multi[key].fmeasure for key in MEASURES.values()], abs=1e-9)
        alone = np.array(
            [[s[key].fmeasure for key in MEASURES.values()] for s in (scorer.score(r, text) for r in several)]
        )
        assert found[MEAN][row] == pytest.approx(100 * alone.mean(0), abs=1e-9)
        assert found[OF_BEST][row] == pytest.approx(100 * alone[alone[:, 0].argmax()], abs=1e-9)


def test_a_report_has_means_intervals_and_paired_tests():
    others = texts(30, 2)
    report = summary_report({"this model": WRITTEN, "other": others, "again": WRITTEN}, REFERENCES)
    found = Rouge()(WRITTEN, REFERENCES)[BEST]
    for m, measure in enumerate(MEASURES):
        score = report.scores["this model"][measure]
        assert score.value == pytest.approx(found[:, m].mean()) and score.low < score.value < score.high
        # Of a mean over independent texts the interval is about that of the normal distribution.
        assert score.high - score.low == pytest.approx(2 * 1.96 * found[:, m].std() / np.sqrt(30), rel=0.15)
        assert report.p_values["other"][measure] < 0.01 and report.p_values["again"][measure] == 1.0
        assert report.others[MEAN]["this model"][measure] <= score.value + 1e-9
    first = [several[0] for several in REFERENCES]
    assert report.length == pytest.approx(sum(len(t.split()) for t in WRITTEN) / sum(len(t.split()) for t in first))
    assert report.different == len(set(WRITTEN)) and f"for which {len(set(WRITTEN))} different ones" in str(report)
    assert "refs:var" in str(report) and "stem:porter" in str(report) and "Mean over references:" in str(report)
    assert report.to_dict()["scores"]["other"]["ROUGE-2"]["value"] == report.scores["other"]["ROUGE-2"].value


def test_chance_is_as_frequent_as_its_p_values_say():
    """Of two systems that draw from one source, one in twenty differs at p = 0.05."""
    frequent = 0
    for seed in range(40):
        one, two, known = texts(40, 3 * seed + 100), texts(40, 3 * seed + 101), texts(40, 3 * seed + 102)
        report = summary_report({"one": one, "two": two}, known)
        frequent += report.p_values["two"]["ROUGE-1"] <= 0.05
    assert frequent <= 7  # P(more) < 0.001 at 40 draws of 0.05


def test_one_reference_a_text_has_one_way():
    report = summary_report({"this model": WRITTEN}, [several[0] for several in REFERENCES])
    assert report.others == {} and "refs:1" in report.scores["this model"]["ROUGE-1"].signature
    assert summary_report({"same": ["a house"]}, ["A house!"]).scores["same"]["ROUGE-2"].value == 100


def test_sentences_leads_and_best_ones():
    source = "We study trees. They grow, e.g. in woods, to 3.5 metres. A forest burned down!"
    split = sentence_splitter(["Oaks, e.g. old ones, e.g. these, burn e.g. here. Others do not, e.g. beeches."] * 5)
    assert split(source) == ["We study trees.", "They grow, e.g. in woods, to 3.5 metres.", "A forest burned down!"]
    assert (
        lead(source, 2, split) == "We study trees. They grow, e.g. in woods, to 3.5 metres."
        and lead("", 2, split) == ""
    )
    sources, references = [source, "  "], [("nothing", "the forest burned"), ("x",)]
    assert best_sentences(sources, references, split) == ["A forest burned down!", "  "]
    # No sentence beats the best one.
    chosen = Rouge()(best_sentences(sources, references, split), references)[BEST][0, 0]
    assert chosen == max(Rouge()([sentence], references[:1])[BEST][0, 0] for sentence in split(source))


def test_one_for_all_is_the_best_of_its_candidates():
    candidates = texts(8, 5)
    means = [Rouge()([one] * len(REFERENCES), REFERENCES)[BEST][:, 0].mean() for one in candidates]
    assert best_for_all(candidates, REFERENCES) == candidates[int(np.argmax(means))]
    report = summary_report({"this model": candidates[:1] * 30}, REFERENCES)
    assert report.different == 1 and "30 texts, for which 1 different ones were written" in str(report)


def test_the_lead_is_as_long_as_the_summaries():
    split = sentence_splitter()
    sources = [f"First {i} is here. Second {i} comes now. Third {i} ends it." for i in range(4)]
    for count in (1, 2, 3):
        found, means = choose_lead(sources, [(lead(source, count, split),) for source in sources], split)
        assert found == count and means[count] == pytest.approx(100) and len(means) == 3


def test_what_cannot_be_scored_is_said_in_a_line(monkeypatch):
    for systems, references, told in (
        ({"this model": ["x"]}, REFERENCES, "as many as references, 30; got 1"),
        ({"this model": []}, [], "at least one text; got none"),
        ({"this model": ["x", "y"]}, ["a", ()], "row 1 .from 0. has none"),
    ):
        with pytest.raises(TransformerError, match=told):
            summary_report(systems, references)
    monkeypatch.setitem(sys.modules, "rouge_score.rouge_scorer", None)
    with pytest.raises(TransformerError, match="need rouge-score .pip install rouge-score."):
        Rouge()
    monkeypatch.setitem(sys.modules, "nltk.tokenize.punkt", None)
    with pytest.raises(TransformerError, match="comes with rouge-score"):
        sentence_splitter()
