"""The embedded sample of rated reviews: whole, different texts, every score in every split, and learnable in part."""

import csv
import pathlib
from collections import Counter

import pytest

import tftransformer
from tftransformer.data.dedup import dedup_key
from tftransformer.data.numbers import as_numbers
from tftransformer.evaluation.regression_baselines import tfidf_ridge_baseline

FOLDER = pathlib.Path(tftransformer.__file__).parent / "data" / "sample_rated"
SCORES = {1, 1.5, 2, 2.5, 3, 3.5, 4, 4.5, 5}


@pytest.fixture(scope="module")
def splits():
    result = {}
    for name in ("train", "validation", "test"):
        with open(FOLDER / f"{name}.csv", encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        assert set(rows[0]) == {"text", "score"}
        result[name] = [row["text"] for row in rows], as_numbers([row["score"] for row in rows], "score")
    return result


def test_the_readme_counts_the_rows(splits):
    readme = (FOLDER / "README.md").read_text("utf-8")
    for name, (texts, _) in splits.items():
        assert f"| `{name}.csv`" in readme
        assert next(line for line in readme.splitlines() if f"`{name}.csv`" in line).split("|")[2].strip() == str(
            len(texts)
        )


def test_every_text_is_its_own(splits):
    texts = [dedup_key(text) for part, _ in splits.values() for text in part]
    assert len(set(texts)) == len(texts)
    assert all(3 <= len(text.split()) <= 45 for text in texts)


def test_scores_are_spread_evenly(splits):
    for _, scores in splits.values():
        counts = Counter(scores.tolist())
        assert set(counts) == SCORES and max(counts.values()) <= 1.5 * min(counts.values())


def test_counting_words_goes_part_of_the_way(splits):
    pearson = tfidf_ridge_baseline(*splits["train"], *splits["test"])["pearson"]
    assert 0.25 < pearson < 0.8
