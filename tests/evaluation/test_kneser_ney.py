"""Kneser-Ney: probabilities sum to 1, and are those of the definition, written down slowly."""

from collections import Counter, defaultdict
from math import log

import numpy as np
import pytest

from tftransformer.errors import TransformerError
from tftransformer.evaluation import KneserNey

START = "start"


def corpus(seed, texts=40, vocabulary=6, longest=9):
    """Texts of an uneven draw, short ones and an empty one among them, each with its end."""
    draw = np.random.default_rng(seed)
    weights = draw.dirichlet(np.full(vocabulary - 1, 0.5))
    lengths = [0, 1, *draw.integers(1, longest, texts - 2)]
    return [[*draw.choice(vocabulary - 1, length, p=weights).tolist(), vocabulary - 1] for length in lengths]


class Slow:
    """The definition by dictionaries: Chen & Goodman's equations, and KenLM's counts where texts begin."""

    def __init__(self, texts, vocabulary_size, order):
        self.size, self.order = vocabulary_size, order
        raw, lefts = Counter(), defaultdict(set)
        for text in texts:
            tokens = (START, *text)
            for length in range(1, order + 1):
                for i in range(len(tokens) - length + 1):
                    ngram = tokens[i : i + length]
                    raw[ngram] += 1
                    if i:
                        lefts[ngram].add(tokens[i - 1])
        self.counts, self.discounts = defaultdict(dict), {}
        for ngram, count in raw.items():
            if ngram != (START,):
                whole = len(ngram) == order or ngram[0] == START
                self.counts[ngram[:-1]][ngram[-1]] = count if whole else len(lefts[ngram])
        for length in range(1, order + 1):
            came = [c for h, after in self.counts.items() if len(h) == length - 1 for c in after.values()]
            n = [came.count(i) for i in range(5)]
            self.discounts[length] = (0.5, 1.0, 1.5)
            if n[1] and n[2] and n[3]:
                y = n[1] / (n[1] + 2 * n[2])
                found = tuple(i - (i + 1) * y * n[i + 1] / n[i] for i in (1, 2, 3))
                self.discounts[length] = found if min(found) > 0 else self.discounts[length]

    def __call__(self, token, history):
        if len(history) >= self.order:
            return self(token, history[1 - self.order :] if self.order > 1 else ())
        lower = self(token, history[1:]) if history else 1 / self.size
        after = self.counts.get(history)
        if not after:
            return lower
        discount = lambda c: self.discounts[len(history) + 1][min(c, 3) - 1]  # noqa: E731
        total = sum(after.values())
        kept = after[token] - discount(after[token]) if token in after else 0.0
        return (kept + sum(map(discount, after.values())) * lower) / total


@pytest.mark.parametrize("order", [1, 2, 3, 5])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_probabilities_are_those_of_the_definition(seed, order):
    texts, others = corpus(seed), corpus(seed + 10)
    model, slow = KneserNey(texts, 6, order), Slow(texts, 6, order)
    wanted = [log(slow(t, (START, *text[:i]))) for text in others for i, t in enumerate(text)]
    np.testing.assert_allclose(model.log_probabilities(others), wanted, rtol=1e-12)


def test_both_kinds_of_discounts_are_tried_above():
    kinds = {d == (0.5, 1.0, 1.5) for seed in range(3) for d in Slow(corpus(seed), 6, 5).discounts.values()}
    assert kinds == {True, False}


@pytest.mark.parametrize("order", [1, 2, 4])
def test_probabilities_sum_to_one_behind_any_history(order):
    model = KneserNey(corpus(3), 9, order)  # of which three never come
    for history in ([], [0], [1, 2], [0, 0, 1, 3], [8, 0], [5, 5], [2, 1, 7, 0, 0, 0]):
        found = model.probabilities(history)
        assert found.sum() == pytest.approx(1, abs=1e-12) and found.min() > 0


def test_longer_ngrams_foresee_what_repeats():
    texts = [[0, 1, 2, 3, 4] * 20] * 3
    bits = [-KneserNey(texts, 5, order).log_probabilities([texts[0]]).mean() for order in (1, 2, 3)]
    assert bits[0] > 1.5 > 0.2 > bits[1] >= bits[2]


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: KneserNey([], 5), "texts must hold at least one token"),
        (lambda: KneserNey([[]], 5), "texts must hold at least one token"),
        (lambda: KneserNey([[5]], 5), "token ids must be at least 0 and below vocabulary_size, 5; got 5"),
        (lambda: KneserNey([[1]], 5).log_probabilities([[-1]]), "token ids must be at least 0"),
        (lambda: KneserNey([[1]], 5, order=0), "order must be a positive integer"),
        (lambda: KneserNey([[1]], 0), "vocabulary_size must be a positive integer"),
    ],
)
def test_what_cannot_be_is_said_in_a_line(make, told):
    with pytest.raises(TransformerError, match=told) as raised:
        make()
    assert "\n" not in str(raised.value)
