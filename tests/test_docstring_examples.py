"""Every example in a docstring runs and shows what it says."""

import ast
import collections
import doctest
import importlib
import pathlib
import pkgutil

import keras
import numpy as np
import pytest
import tensorflow as tf

import tftransformer
from tftransformer.checkpoints.huggingface.tokenizer import write_tokenizer
from tftransformer.data import Split
from tftransformer.text import WordPieceTokenizer
from tftransformer.text.sentencepiece_model import PieceType, UnigramModel, model_bytes

PACKAGES = (
    "config", "errors", "files", "patterns", "layers", "models", "text", "data", "checkpoints", "finetuning", "evaluation",
    "distribution", "tasks", "export", "pretraining", "runs",
)  # fmt: skip
MODULES = sorted(
    module.name
    for module in pkgutil.walk_packages(tftransformer.__path__, "tftransformer.")
    if not module.name.endswith("__main__")
)


# They export a SavedModel, or trace the embedded encoder.
SLOW = {f"tftransformer.{name}" for name in (
    "export.saved_model", "export.serving", "tasks.document_classifier", "tasks.task", "tasks.network",
)}  # fmt: skip
# Why an example cannot run here.
SKIPPED = {
    "checkpoints.saved_model_layer.SavedModelFeatures": "a SavedModel of Google's",
    "checkpoints.sources.folder.open_weights": "a published checkpoint",
    "checkpoints.weights_files.preset_from_file": "a published checkpoint",
    "data.augmentation.sources.WordNetSynonyms": "nltk's WordNet",
}

# Examples of packages that still skip some; none may be added.
MOST_SKIPPED = {"finetuning": 20, "pretraining": 3, "runs": 16}


def examples_of(module):
    return doctest.DocTestFinder(exclude_empty=True).find(module)


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow) if n in SLOW else n for n in MODULES])
def test_examples_run(name, namespace, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    module = importlib.import_module(name)
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS)
    of_classes = {}
    for test in examples_of(module):
        if test.examples:
            # A method's example goes on from that of its class.
            test.globs = {**namespace(test), **vars(module), **of_classes.get(test.name.rpartition(".")[0], {})}
            before = dict(test.globs)
            runner.run(test, clear_globs=False)
            changed = {key: value for key, value in test.globs.items() if value is not before.get(key)}
            of_classes[test.name] = changed
    assert runner.summarize(verbose=False).failed == 0


def test_only_what_needs_something_from_elsewhere_is_skipped():
    skipped = collections.Counter(
        test.name.removeprefix("tftransformer.")
        for name in MODULES
        for test in examples_of(importlib.import_module(name))
        for example in test.examples
        if example.options.get(doctest.SKIP)
    )
    for package, most in MOST_SKIPPED.items():
        here = [name for name in skipped if name.startswith(f"{package}.")]
        assert sum(skipped.pop(name) for name in here) <= most, f"more examples of {package} are skipped than were"
    assert set(skipped) == set(SKIPPED), "an example is skipped without its reason here, or runs and has one"


def sentencepiece_model():
    special = ("<unk>", "<pad>", "<s>", "</s>", "<mask>")
    pieces = ("▁Hello", "▁there")
    types = (PieceType.UNKNOWN, *[PieceType.CONTROL] * 4, *[PieceType.NORMAL] * 2)
    return model_bytes(UnigramModel((*special, *pieces), (0.0,) * 7, types))


@pytest.fixture(scope="session")
def public():
    """What users import, by its name."""
    names = {"np": np, "tf": tf, "Path": pathlib.Path, "keras": keras, "tt": tftransformer}
    for package in PACKAGES:
        part = importlib.import_module(f"tftransformer.{package}")
        for name in getattr(part, "__all__", [n for n in vars(part) if n[0] != "_"]):
            names[name] = getattr(part, name)
    return names


@pytest.fixture
def namespace(public, two_block_preset, tiny_vocabulary, reviews):
    """Names for an example: what users import, and what its docstring takes for granted, if it is asked for."""

    def split(name, start, stop):
        return Split(reviews[0][start:stop], reviews[1][start:stop], name)

    def classifier():
        keras.utils.set_random_seed(0)
        return public["TextClassifier"].from_preset(two_block_preset, labels=["negative", "positive"])

    makers = {
        "classifier": classifier,
        "train": lambda: split("train", 0, 40),
        "validation": lambda: split("validation", 40, 50),
        "test": lambda: split("test", 50, 60),
        "texts": lambda: list(reviews[0]),
        "preset": lambda: two_block_preset,
        "tokenizer": lambda: WordPieceTokenizer(tiny_vocabulary),
    }

    def checkpoint():
        pathlib.Path("checkpoint").mkdir()
        write_tokenizer(pathlib.Path("checkpoint"), WordPieceTokenizer(tiny_vocabulary), "bert")

    files = {
        '"checkpoint"': checkpoint,
        '"vocab.txt"': lambda: pathlib.Path("vocab.txt").write_text("\n".join(tiny_vocabulary)),
        '"spiece.model"': lambda: pathlib.Path("spiece.model").write_bytes(sentencepiece_model()),
    }

    def names_for(test):
        used = {
            node.id
            for example in test.examples
            for node in ast.walk(ast.parse(example.source))
            if isinstance(node, ast.Name)
        }
        for name, make in files.items():
            if any(name in example.source for example in test.examples) and not pathlib.Path(name[1:-1]).exists():
                make()
        return {**public, **{name: make() for name, make in makers.items() if name in used}}

    return names_for
