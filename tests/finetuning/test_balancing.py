"""Class weights."""

import numpy as np
import pytest

from tftransformer.errors import TransformerError
from tftransformer.finetuning import class_weights

LABELS = ["b", "a", "a", "c", "a", "b"]


def test_balanced_classes_add_the_same_to_the_loss():
    weights = class_weights("balanced", LABELS)
    assert [weights[i] * n for i, n in enumerate((3, 2, 1))] == pytest.approx([2.0, 2.0, 2.0])
    assert class_weights("balanced", np.array([0, 1, 1, 1])) == pytest.approx({0: 2.0, 1: 2 / 3})
    assert class_weights("balanced", np.array(LABELS), np.array(["c", "b", "a"]))[0] == pytest.approx(2.0)


def test_given_weights():
    assert class_weights(None, LABELS) is class_weights("none", LABELS) is None
    assert class_weights({"c": 5}, LABELS) == {0: 1.0, 1: 1.0, 2: 5.0}
    assert class_weights({2: 5}, LABELS) == {0: 1.0, 1: 1.0, 2: 5.0}
    assert class_weights([1, 2, 3], LABELS) == {0: 1.0, 1: 2.0, 2: 3.0}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("balancd", LABELS), "got 'balancd'; did you mean 'balanced'"),
        (("balanced", LABELS, ["a", "b", "c", "d"]), "'d' has none"),
        (({"d": 1.0}, LABELS), "names the class 'd'"),
        (({3: 1.0}, LABELS), "names the class 3"),
        (({"a": 1.0, "0": 2.0}, LABELS), "must name a class once; got 'a' twice"),
        (([1.0, 2.0], LABELS), "a weight for each of the 3 classes; got 2"),
        (([1.0, 2.0, -1.0], LABELS), "numbers of at least 0; got -1.0"),
        (({"a": "x"}, LABELS), "numbers of at least 0; got 'x'"),
        (({"a": float("nan")}, LABELS), "numbers of at least 0; got nan"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(TransformerError, match=message):
        class_weights(*arguments)
