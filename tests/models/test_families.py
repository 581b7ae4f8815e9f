"""One module a family: what is said of a family elsewhere is derived from it, and no code knows one by name."""

import ast
import dataclasses
import importlib
import pathlib
import pkgutil
import re

from tftransformer.checkpoints import embedded_presets
from tftransformer.checkpoints.rules import TRANSFORMS
from tftransformer.config import TransformerConfig
from tftransformer.models import families
from tftransformer.models.families import FAMILIES, SOURCES, families_of, family_of_tokenizer
from tftransformer.models.families.family import ROLES, TOKENIZER_TITLES
from tftransformer.text.base import SPECIAL_TOKENS
from tftransformer.text.spec import KINDS

HOME = pathlib.Path(families.__file__).parent
ROOT = HOME.parents[1]

# What stands in code outside of models/families/ -> why.
STEP = "the type of a step in tokenizer.json, whatever the family"
EXCEPTIONS = {
    ("config.py", "bert"): "the family of a config that names none",
    ("runs/pretraining_options.py", "bert"): "the same, of a pretraining",
    ("runs/pair_options.py", "transformer"): "the same, of a model from text to text from nothing",
    ("runs/generation_options.py", "gpt2"): "the same, of a language model from nothing",
    ("checkpoints/huggingface/tokenizer.py", "BertNormalizer"): STEP,
    ("checkpoints/huggingface/tokenizer_json.py", "BertNormalizer"): STEP,
    ("checkpoints/huggingface/tokenizer_json.py", "BertPreTokenizer"): STEP,
    ("checkpoints/huggingface/tokenizer_json.py", "RobertaProcessing"): STEP,
    (
        "checkpoints/huggingface/settings.py",
        "llama3",
    ): "Hugging Face's name of a kind of rotary positions, in every family",
}


def spellings():
    """What families are called, here and elsewhere."""
    for family in FAMILIES.values():
        yield family.name
        if family.huggingface is not None:
            yield from (family.huggingface.model_type, family.huggingface.classes)
        if family.keras_hub is not None:
            yield family.keras_hub.classes


# "transformer" is a word of its own: as a family it is meant only where it is the whole string.
NAMES = sorted(set(spellings()) - {"transformer"})
NAMED = re.compile("|".join(rf"(?<![A-Za-z]){re.escape(name)}(?![a-z])" for name in NAMES))


def literals(path):
    """The strings in a file's code, without docstrings and other strings that stand alone."""
    tree = ast.parse(path.read_text("utf-8"))
    prose = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in prose:
            yield node.value


def test_no_code_outside_knows_a_family_by_name():
    found = {
        (path.relative_to(ROOT).as_posix(), text)
        for path in sorted(ROOT.rglob("*.py"))
        if HOME not in path.parents
        for text in literals(path)
        if (text == "transformer" or NAMED.search(text)) and text not in embedded_presets()
    }
    assert found == set(EXCEPTIONS)


def test_every_module_is_a_family_and_says_its_name():
    modules = {name for _, name, package in pkgutil.iter_modules(families.__path__) if not package}
    assert modules - {"family"} == set(FAMILIES)
    for name, family in FAMILIES.items():
        assert importlib.import_module(f"{families.__name__}.{name}").FAMILY is family and family.name == name


def test_what_loads_has_a_tokenizer_and_settings_that_exist():
    fields = {field.name for field in dataclasses.fields(TransformerConfig)}
    for source in SOURCES:
        for family in families_of(source).values():
            assert family.tokenizer is not None and family.tokenizer.kind in KINDS
            assert source != "google" or family.huggingface is not None  # which has the meaning of its settings
    for family in FAMILIES.values():
        assert set(family.defaults) <= fields
        for facts in filter(None, (family.huggingface, family.keras_hub)):
            assert set(facts.settings.values()) <= fields and set(facts.fixed) <= fields
        if family.huggingface is not None:
            assert set(family.huggingface.settings) <= set(family.huggingface.defaults)


def test_every_transform_is_known():
    tables = [
        table
        for family in FAMILIES.values()
        for facts in filter(None, (family.huggingface, family.keras_hub, family.google))
        for table in filter(None, (facts.table, getattr(facts, "model_garden", None)))
    ]
    assert len(tables) == 23
    assert {rule.transform for table in tables for rule in table.rules} == set(TRANSFORMS)


def test_the_words_of_tokenizers_are_those_of_text():
    assert ROLES == SPECIAL_TOKENS and set(TOKENIZER_TITLES) == set(KINDS)
    for kind in KINDS:
        assert family_of_tokenizer(kind).tokenizer.kind == kind
