"""README.md, docs/ and CONTRIBUTING.md: their Python runs, their commands, flags and files exist, their tables are the code's."""

import ast
import configparser
import csv
import dataclasses
import importlib
import json
import re
import shlex
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import Version

import tftransformer
from tftransformer.finetuning import recipe
from tftransformer.runs.commands import COMMANDS

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
TEXTS = {path.relative_to(ROOT).as_posix(): path.read_text("utf-8") for path in DOCUMENTS}
README = TEXTS["README.md"]

# The fast run of a file replaces these; the slow one runs it as it stands.
SHORTER = {
    "epochs=3": "epochs=1",
    "steps_per_epoch=1000": "steps_per_epoch=2",
    # The fast run's presets have three blocks.
    "freeze:8": "freeze:2",
    "layers=4": "layers=1",
    "sequence_length=64": "sequence_length=24",
}
# The slow run takes everything as it stands, but for how often the same is done: 20 trials and 1,000 steps are minutes.
REPEATED = {
    "epochs=30": "epochs=2",
    "trials=20": "trials=2",
    "folds=5": "folds=3",
    "steps_per_epoch=1000": "steps_per_epoch=20",
}
# Flags that are told of because there are none any more.
GONE = {"CHANGELOG.md": {"heldout_share", "prefix_cache"}}


@dataclasses.dataclass(frozen=True)
class Block:
    """A fenced block: its language, its code, the line that it starts in, and why it is not run, if it is not."""

    language: str
    code: str
    line: int
    not_run: str | None


def blocks(text, *languages):
    found = re.finditer(r"(?:<!-- not run:(.*?)-->\n)?^```(\w*)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    every = [Block(m[2], m[3], text[: m.start(3)].count("\n") + 1, m[1]) for m in found]
    return [block for block in every if not languages or block.language in languages]


def of_languages(*languages):
    return [name for name, text in TEXTS.items() if blocks(text, *languages)]


# Python.


def test_what_is_not_run_has_a_reason():
    reasons = [block.not_run for text in TEXTS.values() for block in blocks(text)]
    assert all(reason is None or len(reason.strip()) > 10 for reason in reasons)
    marks = sum(len(re.findall("^<!-- not run", text, re.MULTILINE)) for text in TEXTS.values())
    assert marks == sum(reason is not None for reason in reasons), "a mark stands before no block"


def test_every_block_names_its_language():
    known = {"python", "bash", "sh"}
    for name, text in TEXTS.items():
        for block in blocks(text):
            plain_output = block.language == "" and name == "README.md"
            assert plain_output or block.language in known, f"{name}:{block.line}"


def test_the_python_code_is_python_and_its_names_exist():
    for text in TEXTS.values():
        for block in blocks(text, "python"):
            for node in ast.walk(ast.parse(block.code)):
                if not isinstance(node, ast.Attribute):
                    continue
                path = ast.unparse(node).split(".")
                if path[0] != "tt" or not all(part.isidentifier() for part in path):
                    continue
                value = tftransformer
                for part in path[1:]:
                    value = getattr(value, part)


def save_narrow(folder, num_layers, tiny_config, tiny_vocabulary):
    """A preset of narrow blocks, to stand in the place of published ones."""
    from tftransformer.checkpoints import save_preset
    from tftransformer.models.encoder import build_encoder
    from tftransformer.patterns import addresses
    from tftransformer.text import WordPieceTokenizer

    config = tiny_config.replace(
        num_layers=num_layers, num_heads=4, head_dim=None, num_key_value_heads=None, max_sequence_length=512
    )
    draw = np.random.default_rng(0)
    variables = {
        name: draw.normal(1.0 if name.endswith("gamma") else 0.0, 0.05, variable.shape).astype("float32")
        for name, variable in addresses(build_encoder(config)).items()
    }
    return save_preset(folder, config=config, tokenizer=WordPieceTokenizer(tiny_vocabulary), variables=variables)


def write_tables(texts, labels):
    """The files that the documents name."""
    columns = {
        ("tickets", "reports", "sst2", "ag_news"): {"text": texts},
        ("pairs",): {"premise": texts, "hypothesis": texts[::-1]},
        ("mrpc",): {"sentence1": texts, "sentence2": texts[::-1]},
    }
    for names, given in columns.items():
        for name in names:
            with Path(f"{name}.csv").open("w", newline="", encoding="utf-8") as file:
                writer = csv.writer(file)
                writer.writerow([*given, "label"])
                writer.writerows(zip(*given.values(), labels))
    with Path("ratings.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("text", "stars"), *((text, 1 + len(text) % 5) for text in texts)])
    pairs = [("eng", "fra"), *((text, text[::-1]) for text in texts)]
    Path("sentences.tsv").write_text("".join("\t".join(pair) + "\n" for pair in pairs), encoding="utf-8")
    articles = [{"article": f"{text} It was seen. Nobody knows why.", "summary": [text, text[::-1]]} for text in texts]
    Path("articles.jsonl").write_text("".join(json.dumps(row) + "\n" for row in articles), encoding="utf-8")
    Path("notes").mkdir()
    Path("notes/all.txt").write_text("\n\n".join(texts * 4), encoding="utf-8")


@pytest.fixture
def workplace(tiny_config, tiny_vocabulary, reviews, tmp_path, monkeypatch):
    """Makes a folder with all that the documents name, in which a preset of so many blocks stands for published ones."""
    from tftransformer.checkpoints import presets
    from tftransformer.config import TransformerConfig
    from tftransformer.tasks.causal_lm import CausalLM
    from tftransformer.tasks.text_classifier import TextClassifier
    from tftransformer.text import train_byte_bpe

    def make(num_layers):
        monkeypatch.chdir(tmp_path)
        write_tables(*(part[:40] for part in reviews))
        folder = save_narrow(tmp_path / "bert_base_en_uncased", num_layers, tiny_config, tiny_vocabulary)
        Path("bert_12x192_en_uncased").symlink_to(folder)
        # The embedded preset is found by its name before a folder is.
        monkeypatch.setattr(presets, "embedded_presets", tuple)
        classifier = TextClassifier.from_preset(folder, labels=["negative", "positive"], pooling="cls", pooler=True)
        classifier.save_to_preset("some/huggingface/folder", format="huggingface")
        words = train_byte_bpe(reviews[0], 280)
        config = TransformerConfig(
            "gpt2", vocabulary_size=words.vocabulary_size, num_layers=1, hidden_dim=8, num_heads=2, intermediate_dim=16
        )
        CausalLM(config, words).save_to_preset("some/gpt2/folder", format="huggingface")

    return make


def run_file(name, replacements):
    # A sweep of rates needs a loss that falls, which not every draw of weights has so soon.
    keras.utils.set_random_seed(0)
    namespace = {}
    for block in blocks(TEXTS[name], "python"):
        if block.not_run is not None:
            continue
        code = block.code
        for old, new in replacements.items():
            code = code.replace(old, new)
        # Blank lines, so that a traceback has the document's line.
        exec(compile("\n" * (block.line - 1) + code, name, "exec"), namespace)


# Documents whose code takes longest: they run in full alone, in the slow run.
IN_FULL_ALONE = {
    f"docs/{name}.md"
    for name in ("tasks", "finetuning", "measurements", "translation", "summarization", "language_models")
}


@pytest.mark.parametrize("name", [name for name in of_languages("python") if name not in IN_FULL_ALONE])
def test_the_python_code_runs_in_short(name, workplace, monkeypatch):
    workplace(3)
    # `fit` without epochs follows the recipe, whose updates are many.
    monkeypatch.setattr(recipe, "UPDATES", 1)
    monkeypatch.setattr(recipe, "EPOCHS", 1)
    monkeypatch.setattr(recipe, "PAIR_UPDATES", 1)
    # Tracing would be most of the time; the slow run does it.
    tf.config.run_functions_eagerly(True)
    try:
        run_file(name, SHORTER)
    finally:
        tf.config.run_functions_eagerly(False)


@pytest.mark.slow
@pytest.mark.parametrize("name", of_languages("python"))
def test_the_python_code_runs(name, workplace):
    workplace(9)  # freeze:8 leaves one
    run_file(name, REPEATED)


def test_what_the_short_runs_replace_stands_somewhere():
    code = {name: "".join(block.code for block in blocks(text, "python")) for name, text in TEXTS.items()}
    in_short = "".join(code[name] for name in code if name not in IN_FULL_ALONE)
    assert all(old in in_short for old in SHORTER) and all(old in "".join(code.values()) for old in REPEATED)


# Commands and flags.


def flags_of(command):
    """Flags of a command, or of an example that is a program of its own."""
    if command not in COMMANDS:
        return set(re.findall(r'DEFINE_\w+\(\s*"(\w+)"', (ROOT / "examples" / f"{command}.py").read_text("utf-8")))
    module = importlib.import_module(f"tftransformer.runs.commands.{command}")
    return {name for part in module.FLAGS for name in part.names}


def flags_of_benchmarks():
    sources = "".join(path.read_text("utf-8") for path in (ROOT / "benchmarks").glob("*.py"))
    return set(re.findall(r'DEFINE_\w+\(\s*"(\w+)"', sources))


def commands_in_prose(text):
    """Commands between backticks, which may run over the end of a line."""
    prose = re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)
    return re.findall(r"`python (?:examples/|-m tftransformer )(\w+)(?:\.py)?([^`]*)`", prose)


@pytest.mark.parametrize("name", TEXTS)
def test_flags_of_its_commands_in_prose_are_defined(name):
    for command, arguments in commands_in_prose(TEXTS[name]):
        given = re.findall(r"--(\w+)", arguments)
        assert set(given) <= flags_of(command) | {"helpfull"}, f"{command} has not all of {given}"


@pytest.mark.parametrize("name", TEXTS)
def test_flags_in_its_prose_are_those_of_the_commands(name):
    known = set().union(*map(flags_of, COMMANDS), flags_of_benchmarks()) | {"helpfull"} | GONE.get(name, set())
    assert set(re.findall(r"`--(\w+)", TEXTS[name])) <= known


@pytest.mark.parametrize("name", of_languages("bash", "sh"))
def test_each_line_of_its_shell_blocks_is_a_command_with_its_flags(name):
    for block in blocks(TEXTS[name], "bash", "sh"):
        if block.not_run is not None:
            continue
        for line in re.split(r"\n|&&", block.code.replace("\\\n", " ")):
            words = shlex.split(line, comments=True)
            if words:
                check_command(words, f"{name}:{block.line}: {line}")


def check_command(words, where):
    if words[:2] == ["pip", "install"] or words[:1] in (["ruff"], ["mypy"]):
        return
    assert words[0] == "python", where
    if words[1:3] == ["-m", "pytest"]:
        paths = [word for word in words[3:] if "/" in word]
        assert all((ROOT / path).exists() for path in paths), where
        return
    if words[1:3] == ["-m", "tftransformer"]:
        command, arguments = words[3], words[4:]
    else:
        path, arguments = ROOT / words[1], words[2:]
        assert path.is_file(), where
        command = path.stem
    if words[1].startswith("benchmarks/"):
        assert set(re.findall(r"--(\w+)", " ".join(arguments))) <= flags_of_benchmarks(), where
        return
    assert set(re.findall(r"--(\w+)", " ".join(arguments))) <= flags_of(command), where


def test_the_two_commands_of_the_readme_are_those_that_the_continuous_check_runs():
    check = (ROOT / ".ci" / "run").read_text("utf-8")
    commands = re.findall(r"^step '(pip install .* && .*)'$", check, re.MULTILINE)
    assert len(commands) == 2
    assert all(f"```bash\n{command}\n```" in README for command in commands)


# Paths and links.


@pytest.mark.parametrize("name", TEXTS)
def test_paths_exist(name):
    for path in re.findall(r"`((?:tftransformer|examples|tests|benchmarks|docs)/[\w/.]+)`", TEXTS[name]):
        # A recipe's new file is called NAME.
        found = ROOT / path if "NAME" not in path else (ROOT / path).parent
        assert found.exists(), path


RECIPES = (
    "a family", "a metric", "a method", "a task", "a kind of input or target", "an export format", "a reader", "a position scheme",
    "or change a default",
)  # fmt: skip


@pytest.mark.parametrize("thing", RECIPES)
def test_there_is_a_recipe_that_names_files(thing):
    _, heading, after = TEXTS["CONTRIBUTING.md"].partition(f"### Add {thing}\n")
    recipe = after.partition("\n### ")[0]
    assert heading and re.findall(r"^- .*?`(?:tftransformer|docs)/[\w/.]+`", recipe, re.MULTILINE)


def test_names_that_recipes_give_stand_in_the_file_beside_them():
    """ "file: its name in `CONSTANT`" is true of the file."""
    found = re.findall(r"^- `(tftransformer/[\w/.]+)`:[^\n]*?`(_?[A-Z_]{4,})`", TEXTS["CONTRIBUTING.md"], re.MULTILINE)
    found = [(path, name) for path, name in found if "NAME" not in path]
    assert len(found) >= 6
    for path, name in found:
        assert re.search(rf"^{name}\b", (ROOT / path).read_text("utf-8"), re.MULTILINE), f"{name} in {path}"


def anchors(text):
    """The anchors of a document's headings, as they are made of their words."""
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("name", TEXTS)
def test_links_lead_somewhere(name):
    for target in re.findall(r"\]\(([^)\s]+)\)", TEXTS[name]):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        file = (ROOT / name).parent / path if path else ROOT / name
        assert file.exists(), target
        assert not anchor or anchor in anchors(file.read_text("utf-8")), target


def test_the_readme_leads_to_every_guide():
    assert all(f"](docs/{path.name})" in README for path in (ROOT / "docs").glob("*.md"))


# Tables.


def test_the_table_of_what_loads_is_the_one_of_the_families():
    from tftransformer.models.families import loading_table

    assert loading_table() in TEXTS["docs/checkpoints.md"]


def test_the_table_of_methods_has_them_all():
    from tftransformer.finetuning.methods import METHODS

    rows = re.findall(r"^\| `tt\.(\w+)\(.*?\)` \| `(\w+)", TEXTS["docs/finetuning.md"], re.MULTILINE)
    assert {(spelling, method) for method, spelling in rows} == {(n, kind) for n, (_, kind) in METHODS.items()}


def versions_tried():
    """The table of versions: for each column all that were tried."""
    section = TEXTS["docs/measurements.md"].partition("## Versions")[2].partition("\n## ")[0]
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
