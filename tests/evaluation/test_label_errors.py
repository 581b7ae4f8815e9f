"""Flipped labels are found; a class that is never sure is not suspect for that."""

import numpy as np
import pytest

from tftransformer.errors import TransformerError
from tftransformer.evaluation.label_errors import find_label_errors, held_out_probabilities


def vectors(rows, classes, seed=0, distance=3.0):
    draw = np.random.default_rng(seed)
    targets = np.arange(rows) % classes
    return draw.normal(0, 1, (rows, 8)) + distance * np.eye(classes, 8)[targets], targets


@pytest.mark.parametrize("classes", [2, 4])
def test_flipped_labels_are_found_and_few_others(classes):
    x, true = vectors(400, classes, distance=5.0)
    flipped = np.random.default_rng(1).random(400) < 0.05
    given = np.where(flipped, (true + 1) % classes, true)
    found = find_label_errors(given, held_out_probabilities(x, given))
    assert flipped[found].mean() > 0.9 and flipped[found].sum() > 0.6 * flipped.sum()
    assert flipped[found[: flipped.sum() // 2]].all()


def test_clean_labels_that_are_easy_have_no_errors():
    x, true = vectors(200, 3, distance=12.0)
    assert len(find_label_errors(true, held_out_probabilities(x, true))) == 0


def test_a_class_is_as_sure_as_it_is_of_its_own():
    # The second class never gets more than .4, and .35 is as much as its own rows have.
    said = np.array([[0.7, 0.3], [0.8, 0.2], [0.65, 0.35], [0.65, 0.35], [0.9, 0.1]])
    assert find_label_errors(np.array([0, 0, 1, 1, 1]), said).tolist() == [4]


def test_wrong_arguments():
    with pytest.raises(TransformerError, match="one label a text; got shape"):
        find_label_errors(np.eye(3), np.eye(3))
    with pytest.raises(TransformerError, match="at least two rows of each class; class 1 has 1"):
        held_out_probabilities(np.zeros((3, 2)), np.array([0, 0, 1]))
