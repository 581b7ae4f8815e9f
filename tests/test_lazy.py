"""Names load on first use, and every name that a package promises exists."""

import importlib
import subprocess
import sys

import pytest

import tftransformer

PACKAGES = (
    "data",
    "data.augmentation",
    "text",
    "evaluation",
    "checkpoints",
    "models",
    "distribution",
    "pretraining",
    "finetuning",
    "tasks",
    "runs",
)


@pytest.mark.parametrize("package", ("", *PACKAGES))
def test_every_public_name_exists(package):
    module = importlib.import_module(".".join(filter(None, ("tftransformer", package))))
    assert module.__all__ == sorted(module.__all__)
    for name in module.__all__:
        assert getattr(module, name) is not None, name
    assert set(dir(module)) == set(module.__all__)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'TextClassifer'"):
        tftransformer.TextClassifer  # noqa: B018


def test_importing_loads_neither_tensorflow_nor_keras():
    packages = ", ".join(f"tftransformer.{package}" for package in (*PACKAGES, "config", "models.families"))
    code = f"import sys, tftransformer, {packages}; print(sorted({{'keras', 'tensorflow', 'sklearn', 'optuna'}} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
