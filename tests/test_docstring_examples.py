"""The examples in the docstrings of the layers, the models and the floor below them run and show what they say."""

import doctest
import importlib
import pathlib

import keras
import pytest

from tftransformer import config, errors, layers, models, patterns

ROOT = pathlib.Path(config.__file__).parent
MODULES = [
    "config",
    "patterns",
    *(f"{p}.{f.stem}" for p in ("layers", "models") for f in (ROOT / p).glob("[a-z]*.py")),
]


@pytest.mark.parametrize("name", sorted(MODULES))
def test_examples_run(name):
    module = importlib.import_module(f"tftransformer.{name}")
    shared = {
        k: v
        for part in (config, errors, layers, models, patterns)
        for k, v in vars(part).items()
        if k[0] != "_"
    }
    names = {**shared, **vars(module), "keras": keras}
    result = doctest.testmod(module, extraglobs=names, optionflags=doctest.NORMALIZE_WHITESPACE)
    assert result.failed == 0
