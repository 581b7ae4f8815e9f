"""Scores of written texts are sacrebleu's; the word-by-word baseline finds the words that belong together."""

import numpy as np
import pytest

from tftransformer.errors import TransformerError
from tftransformer.evaluation import Perplexity, WordByWord, translation_report

sacrebleu = pytest.importorskip("sacrebleu")

REFERENCES = [
    f"the {colour} {thing} is here, and {i} more."
    for i, colour in enumerate(["red", "blue"])
    for thing in ["dog", "house", "tree"]
]
WRITTEN = [text.replace("is here", "stands here") if i % 2 else text for i, text in enumerate(REFERENCES)]


def test_scores_are_sacrebleus():
    report = translation_report({"this model": WRITTEN, "other": REFERENCES[::-1]}, REFERENCES)
    for system, texts in (("this model", WRITTEN), ("other", REFERENCES[::-1])):
        bleu, chrf = report.scores[system]["BLEU"], report.scores[system]["chrF2"]
        assert bleu.value == pytest.approx(sacrebleu.corpus_bleu(texts, [REFERENCES]).score)
        assert chrf.value == pytest.approx(sacrebleu.corpus_chrf(texts, [REFERENCES]).score)
        assert bleu.low < bleu.value < bleu.high
    assert report.p_values["other"]["BLEU"] < 0.05
    assert "bs:1000" in report.scores["other"]["BLEU"].signature and "other" in str(report)


def test_several_references_are_sacrebleus():
    several = [(text, text.replace("here", "there")) if i % 3 else text for i, text in enumerate(REFERENCES)]
    report = translation_report({"this model": WRITTEN, "other": REFERENCES[::-1]}, several)
    streams = [REFERENCES, [None if isinstance(found, str) else found[1] for found in several]]
    for system, texts in (("this model", WRITTEN), ("other", REFERENCES[::-1])):
        assert report.scores[system]["BLEU"].value == pytest.approx(sacrebleu.corpus_bleu(texts, streams).score)
        assert report.scores[system]["chrF2"].value == pytest.approx(sacrebleu.corpus_chrf(texts, streams).score)
    assert "nrefs:var" in report.scores["other"]["BLEU"].signature


def test_what_cannot_be_scored_is_said_in_a_line():
    with pytest.raises(TransformerError, match="as many as references, 6; got 1"):
        translation_report({"this model": ["x"]}, REFERENCES)
    with pytest.raises(TransformerError, match="at least one text; got none"):
        translation_report({"this model": []}, [])


def test_words_that_belong_together_are_found():
    nouns = {"dog": "Hund", "house": "Haus", "tree": "Baum", "cat": "Katze"}
    colours = {"red": "rot", "blue": "blau", "green": "gruen"}
    pairs = [(f"the {c}, {n}", f"{n2} ist {c2}") for c, c2 in colours.items() for n, n2 in nouns.items()]
    translator = WordByWord(pairs)
    assert translator(["Dog (red) cat!", "", "unknown words."]) == ["Hund (rot) Katze!", "", "unknown words."]
    assert WordByWord([])(["as it is"]) == ["as it is"]


def test_perplexity_is_of_all_tokens():
    draw = np.random.default_rng(0)
    logits, ids = draw.normal(size=(3, 4, 7)).astype("float32"), draw.integers(0, 7, (3, 4))
    weights = np.array([[1, 1, 0, 0], [1, 0, 0, 0], [1, 1, 1, 1]], "float32")
    chosen = np.take_along_axis(logits, ids[..., None], -1)[..., 0] - np.log(np.exp(logits).sum(-1))
    metric = Perplexity()
    for row in range(3):
        metric.update_state(ids[row : row + 1], logits[row : row + 1], weights[row : row + 1])
    assert float(metric.result()) == pytest.approx(float(np.exp(-(chosen * weights).sum() / weights.sum())), rel=1e-5)
