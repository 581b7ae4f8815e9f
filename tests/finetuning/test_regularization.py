"""L1 and L2 penalties."""

import keras
import numpy as np
import pytest

from tftransformer.errors import TransformerError
from tftransformer.finetuning import freeze, regularize


def test_the_loss_grows_by_the_penalty_of_the_kernels_that_train(small):
    model = small.build_model(blocks=1, extra=0)
    model.compile("sgd", small.loss(), jit_compile=False)
    plain = model.evaluate(*small.data(), verbose=0)
    assert regularize(model, l1=0.1, l2=0.01) == 2
    freeze(model, patterns="encoder_block_0")
    model.compile("sgd", small.loss(), jit_compile=False)
    kernel = keras.ops.convert_to_numpy(model.get_layer("head").kernel)
    expected = 0.1 * np.abs(kernel).sum() + 0.01 * (kernel**2).sum()
    assert model.evaluate(*small.data(), verbose=0) == pytest.approx(plain + expected, rel=1e-5)
    assert regularize(model) == 0
    model.compile("sgd", small.loss(), jit_compile=False)
    assert model.evaluate(*small.data(), verbose=0) == pytest.approx(plain, rel=1e-5)


@pytest.mark.parametrize("value", [-0.1, float("nan"), "0.1", True])
def test_bad_penalties(small, value):
    with pytest.raises(TransformerError, match="l2 must be (a number|at least 0)"):
        regularize(small.build_model(), l2=value)


def test_patterns_have_to_match(small):
    with pytest.raises(TransformerError, match="matches none"):
        regularize(small.build_model(), l2=0.1, patterns="kernels")
