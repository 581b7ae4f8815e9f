"""McNemar's exact test, and the coverage of bootstrap intervals."""

import numpy as np
import pytest

from tftransformer.evaluation.intervals import bootstrap_f1, f1_scores, mcnemar


def test_mcnemar_counts_the_texts_on_which_they_differ():
    right, wrong = np.ones(50, bool), np.zeros(50, bool)
    assert mcnemar(right, right) == mcnemar(wrong, wrong) == 1.0
    assert mcnemar(right, wrong) == mcnemar(wrong, right) == 2.0**-49
    one = np.arange(50) < 1
    assert mcnemar(one, wrong) == 1.0
    assert mcnemar(np.arange(10) < 8, np.arange(10) >= 8) == pytest.approx(112 / 1024)


@pytest.mark.parametrize("rows", [100, 1000])
def test_the_interval_of_macro_f1_holds_the_true_one_as_often_as_it_says(rows):
    population = np.array([[0.36, 0.03, 0.01], [0.05, 0.22, 0.03], [0.02, 0.04, 0.24]])
    hits, actual, predicted = np.diag(population), population.sum(1), population.sum(0)
    true, _ = f1_scores(hits, predicted, actual)
    labels, answers = (np.eye(3)[index.ravel()] for index in np.indices((3, 3)))
    draw, held = np.random.default_rng(rows), []
    for seed in range(300):
        counts = draw.multinomial(rows, population.ravel())
        (low, high), _ = bootstrap_f1(labels * answers, answers, labels, counts=counts, seed=seed)
        held.append(low <= true <= high)
    # .95 within three standard errors of 300 draws; percentile intervals are a little short where rows are few.
    assert 0.905 < np.mean(held) < 0.988
