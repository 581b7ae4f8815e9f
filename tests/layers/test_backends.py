"""The same numbers on TensorFlow, JAX and torch, and without TensorFlow where it is not the backend."""

import importlib.util
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest

ZOO = pathlib.Path(__file__).with_name("backend_zoo.py")


def outputs(backend, folder, *flags):
    out = folder / f"{backend}.npz"
    environment = {**os.environ, "KERAS_BACKEND": backend, "PYTHONPATH": str(ZOO.parents[2])}
    if backend == "jax":
        # Each op is compiled for one call: optimising it would be most of the run.
        environment["XLA_FLAGS"] = "--xla_backend_optimization_level=0"
    done = subprocess.run(
        [sys.executable, str(ZOO), str(out), *flags], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return np.load(out)


@pytest.fixture(scope="module")
def on_tensorflow(tmp_path_factory):
    return outputs("tensorflow", tmp_path_factory.mktemp("zoo"))


@pytest.mark.parametrize(
    "backend", [pytest.param("jax", marks=pytest.mark.slow), pytest.param("torch", marks=pytest.mark.live)]
)
def test_every_layer_gives_the_same_numbers_without_tensorflow(backend, on_tensorflow, tmp_path):
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed")
    other = outputs(backend, tmp_path, "--without_tensorflow")
    assert str(other["backend"]) == backend and str(on_tensorflow["backend"]) == "tensorflow"
    assert set(other.files) == set(on_tensorflow.files) and len(other.files) > 20
    for name in set(other.files) - {"backend"}:
        assert other[name].dtype == on_tensorflow[name].dtype and np.any(other[name] != 0), name
        scale = max(1.0, np.abs(on_tensorflow[name]).max())
        np.testing.assert_allclose(other[name], on_tensorflow[name], atol=2e-5 * scale, rtol=0, err_msg=name)
