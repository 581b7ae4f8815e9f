"""Strategies by name, and what happens without the devices."""

import pytest
import tensorflow as tf

from tftransformer.distribution import build_strategy
from tftransformer.errors import TransformerError


def test_default_is_one_device():
    assert build_strategy() is tf.distribute.get_strategy()


def test_mirrored_takes_what_there_is():
    assert isinstance(build_strategy("mirrored"), tf.distribute.MirroredStrategy)
    assert build_strategy("mirrored", devices="cpu:0").num_replicas_in_sync == 1
    assert build_strategy("mirrored", devices=["/device:CPU:0"]).num_replicas_in_sync == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("mirored",), "must be one of default, mirrored, tpu; got 'mirored'; did you mean 'mirrored'"),
        (("multi_worker",), "^distribution 'multi_worker' is not available yet with Keras 3; use 'mirrored'"),
        ((None,), "distribution must be one of"),
        (("default", ["CPU:0"]), "devices goes with 'mirrored' and 'tpu'"),
        (("mirrored", ["CPU:7"]), "devices must be among .*CPU:0; got 'CPU:7'"),
        (("mirrored", ["CPU:0", "CPU:0"]), "devices must name every device once"),
        (("mirrored", []), "devices must name every device once"),
        (("tpu", ["a", "b"]), "devices must be one name or address for a TPU"),
        (("tpu", "grpc://127.0.0.1:"), "distribution 'tpu' cannot reach the TPU 'grpc://127.0.0.1:'"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(TransformerError, match=message) as caught:
        build_strategy(*arguments)
    assert "\n" not in str(caught.value)


def test_no_tpu(monkeypatch):
    monkeypatch.delenv("TPU_NAME", raising=False)
    with pytest.raises(TransformerError, match="distribution 'tpu' needs a TPU: this machine has none"):
        build_strategy("tpu")


def test_a_tpu_that_cannot_be_reached(monkeypatch):
    def refuse(tpu):
        raise RuntimeError(f"connection to {tpu} refused\nand a traceback")

    monkeypatch.setenv("TPU_NAME", "lab")
    monkeypatch.setattr(tf.distribute.cluster_resolver, "TPUClusterResolver", refuse)
    with pytest.raises(TransformerError, match="cannot reach the TPU 'lab': connection to lab refused$"):
        build_strategy("tpu")
