"""What the README says exists: flags, files and names."""

import ast
import configparser
import re
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import Version

import tftransformer

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text("utf-8")


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


@pytest.mark.parametrize("command", re.findall(r"python (examples/\S+\.py[^`\n]*)", README))
def test_flags_of_its_commands_are_defined(command):
    script, *arguments = command.split()
    arguments = [argument for argument in arguments if argument.startswith("--")]
    source = (ROOT / script).read_text("utf-8")
    for flag in re.findall(r"--(\w+)", " ".join(arguments)):
        assert flag == "helpfull" or re.search(rf'DEFINE_\w+\(\s*"{flag}"', source), (
            f"{script} has no --{flag}"
        )


def test_flags_in_its_prose_are_those_of_the_examples():
    source = "".join(path.read_text("utf-8") for path in sorted((ROOT / "examples").glob("*.py")))
    for flag in set(re.findall(r"`--(\w+)", README)) - {"helpfull"}:
        assert re.search(rf'DEFINE_\w+\(\s*"{flag}"', source), f"no example has --{flag}"


def test_the_python_code_is_python_and_its_names_exist():
    for block in blocks("python"):
        for node in ast.walk(ast.parse(block)):
            if not isinstance(node, ast.Attribute):
                continue
            path = ast.unparse(node).split(".")
            if path[0] != "tt" or not all(part.isidentifier() for part in path):
                continue
            value = tftransformer
            for part in path[1:]:
                value = getattr(value, part)


@pytest.mark.parametrize("path", re.findall(r"`((?:tftransformer|examples|tests)/[\w/.]+)`", README))
def test_paths_exist(path):
    assert (ROOT / path).exists()


def test_the_table_of_what_loads_is_the_one_of_the_families():
    from tftransformer.models.families import loading_table

    assert loading_table() in README


def versions_tried():
    """The table of versions: for each column all that were tried."""
    section = README.partition("## Versions")[2].partition("\n## ")[0]
    lines = [line.strip("|").split("|") for line in section.splitlines() if line.startswith("|")]
    names, _, *rows = [[cell.strip() for cell in line] for line in lines]
    return {name.lower(): [Version(row[i]) for row in rows] for i, name in enumerate(names)}


def versions_allowed():
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg", "utf-8")
    lines = [line.partition(" #")[0] for line in config["options"]["install_requires"].splitlines()]
    required = {found.name: found.specifier for found in map(Requirement, filter(None, lines))}
    return {**required, "python": SpecifierSet(config["options"]["python_requires"])}


@pytest.mark.parametrize("name", ["python", "tensorflow", "tensorflow-text", "keras", "keras-nlp"])
def test_the_ranges_of_setup_cfg_are_what_was_tried(name):
    tried, allowed = versions_tried()[name], versions_allowed()[name]
    assert all(version in allowed for version in tried)
    lowest, highest = min(tried), max(tried)
    assert f">={lowest.major}.{lowest.minor}" in str(allowed)
    assert f"<{highest.major}.{highest.minor + 1}" in str(allowed)


def test_the_numpy_that_was_tried_is_allowed():
    assert all(version in versions_allowed()["numpy"] for version in versions_tried()["numpy"])
