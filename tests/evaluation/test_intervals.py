"""McNemar's exact test."""

import numpy as np
import pytest

from tftransformer.evaluation.intervals import mcnemar


def test_mcnemar_counts_the_texts_on_which_they_differ():
    right, wrong = np.ones(50, bool), np.zeros(50, bool)
    assert mcnemar(right, right) == mcnemar(wrong, wrong) == 1.0
    assert mcnemar(right, wrong) == mcnemar(wrong, right) == 2.0**-49
    one = np.arange(50) < 1
    assert mcnemar(one, wrong) == 1.0
    assert mcnemar(np.arange(10) < 8, np.arange(10) >= 8) == pytest.approx(112 / 1024)
