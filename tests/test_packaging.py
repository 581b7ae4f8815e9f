"""What is imported is declared, types are announced, and a wheel holds what runs need."""

import ast
import configparser
import pathlib
import re
import shutil
import subprocess
import sys
import zipfile

import pytest

import tftransformer

ROOT = pathlib.Path(__file__).parents[1]
PACKAGE = pathlib.Path(tftransformer.__file__).parent
# Names of packages that are not the names of what they install.
PROVIDES = {
    "keras-nlp": {"keras_hub"},
    "absl-py": {"absl"},
    "scikit-learn": {"sklearn"},
    "python-crfsuite": {"pycrfsuite"},
}
# Declared because others need them: beside what is imported, for the reason in setup.cfg.
FOR_OTHERS = {"importlib_resources", "tensorboard"}


@pytest.fixture(scope="module")
def declared():
    """The modules that each part of setup.cfg declares; "" is the base."""
    if not (ROOT / "setup.cfg").exists():
        pytest.skip("there is no checkout")
    settings = configparser.RawConfigParser(inline_comment_prefixes="#")
    settings.read(ROOT / "setup.cfg")
    parts = {"": settings["options"]["install_requires"], **settings["options.extras_require"]}
    return {part: set().union(*map(modules_of, lines.split("\n"))) for part, lines in parts.items()}


def modules_of(requirement):
    name = re.match(r"[\w.-]*", requirement.strip())[0]
    return PROVIDES.get(name, {name.replace("-", "_")} if name else set())


def imports():
    """The first parts of what the package imports from elsewhere, and whether some import is not in a function."""
    found = {}
    for path in PACKAGE.rglob("*.py"):
        tree = ast.parse(path.read_text())
        inside = {
            id(node)
            for function in ast.walk(tree)
            if isinstance(function, (ast.FunctionDef, ast.AsyncFunctionDef))
            for node in ast.walk(function)
        }
        for node in ast.walk(tree):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                names = [node.module]
            for name in names:
                first = name.partition(".")[0]
                if first not in sys.stdlib_module_names and first != "tftransformer":
                    found[first] = found.get(first, False) or id(node) not in inside
    return found


def test_what_is_imported_is_declared(declared):
    found = imports()
    everything = set().union(*(declared[part] for part in declared if part not in ("test", "dev", "bench")))
    assert set(found) <= everything, f"imported and not declared: {sorted(set(found) - everything)}"
    at_once = {name for name, outside in found.items() if outside}
    assert at_once <= declared[""], f"imported at once and an extra's: {sorted(at_once - declared[''])}"
    assert declared[""] - FOR_OTHERS <= set(found), "declared and not imported"


def test_types_are_announced():
    assert (PACKAGE / "py.typed").exists()


@pytest.mark.slow
def test_a_wheel_holds_everything_but_tests(tmp_path):
    if not (ROOT / "setup.cfg").exists():
        pytest.skip("there is no checkout")
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tmp_path)
    shutil.copytree(PACKAGE, tmp_path / PACKAGE.name, ignore=shutil.ignore_patterns("__pycache__"))
    build = "from setuptools import build_meta; print(build_meta.build_wheel('dist'))"
    subprocess.run([sys.executable, "-c", build], cwd=tmp_path, check=True, capture_output=True)
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    held = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    files = (path for path in PACKAGE.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    assert held == {path.relative_to(PACKAGE.parent).as_posix() for path in files}
    ends = {name.rpartition(".")[2] for name in held}
    assert {"py", "typed", "csv", "txt", "json", "safetensors"} <= ends
