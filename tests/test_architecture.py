"""The house: imports go to lower floors alone, layers know Keras alone, files stay short, layers are registered."""

import ast
import graphlib
import importlib
import inspect
import pathlib
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[1] / "tftransformer"
FLOORS = [
    {"config", "families", "patterns", "files", "errors", "lazy", "progress"},
    {"layers"},
    {"models", "text"},
    {"data"},
    {"checkpoints", "finetuning", "evaluation", "interpretation", "distribution", "export"},
    {"objectives", "preprocessing"},
    {"training"},
    {"tasks"},
    {"pretraining"},
    {"runs"},
    {"__init__", "__main__"},
]
FLOOR = {name: floor for floor, names in enumerate(FLOORS) for name in names}
FILES = sorted(ROOT.rglob("*.py"))
every_file = pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))


def part_of(names):
    """The package or module of the top level that a dotted name leads to.

    models/families/ stands for itself: it is plain data, which the config reads, in the folder where people look for it.
    """
    return "families" if names[:2] == ["models", "families"] else names[0]


def part(path):
    """The package or module of the top level that a file belongs to."""
    return part_of(list(path.relative_to(ROOT).with_suffix("").parts))


def imports(path):
    """The dotted names that a file imports anywhere, also inside functions."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            if node.module == "tftransformer":
                yield from (f"tftransformer.{alias.name}" for alias in node.names)
            else:
                yield node.module


def own_parts(path):
    names = (name.split(".") for name in imports(path))
    return {part_of(name[1:]) for name in names if name[0] == "tftransformer" and len(name) > 1}


@every_file
def test_imports_go_to_lower_floors_alone(path):
    here = part(path)
    assert here in FLOOR, f"{here} stands on no floor"
    for other in own_parts(path) - {here}:
        assert FLOOR[other] < FLOOR[here] or FLOOR[here] == 0 == FLOOR[other], f"{here} imports {other}"


def test_no_files_import_each_other_in_a_circle():
    """Inside functions and for types alone, too. A package's `__init__` only hands names on."""
    modules = {".".join(path.relative_to(ROOT.parent).with_suffix("").parts): path for path in FILES}
    graph = {name: set(imports(path)) & modules.keys() for name, path in modules.items()}
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


@pytest.mark.parametrize(
    ("package", "allowed"),
    [
        *((name, {"tqdm"} if name == "progress" else {"numpy"}) for name in sorted(FLOORS[0])),
        ("layers", {"keras", "numpy"}),
        ("models", {"keras", "numpy"}),
    ],
)
def test_lower_floors_import_little(package, allowed):
    files = [path for path in FILES if part(path) == package]
    assert files
    for path in files:
        if path.name == "tensorflow_kernels.py":  # behind the one door, layers/kernels.py
            continue
        outside = {name.split(".")[0] for name in imports(path)} - sys.stdlib_module_names - {"tftransformer"}
        assert outside <= allowed, f"{path.name} imports {outside - allowed}"


# The class that every task is, half of it what a user reads of `fit`, `compile` and `predict`.
LONG = {"tasks/task.py": 700}


@every_file
def test_files_stay_short_and_have_a_job(path):
    text = path.read_text("utf-8")
    limit = LONG.get(path.relative_to(ROOT).as_posix(), 500)
    assert len(text.splitlines()) <= limit  # a class torn apart reads worse than a long one
    assert path.name not in ("utils.py", "helpers.py", "common.py", "misc.py")
    assert not text.strip() or ast.get_docstring(ast.parse(text)), "a file opens with what it is"


def test_docstrings_begin_with_what_a_thing_is_or_does():
    """As Keras's own: "Return …", "Number of …"; a question word begins a riddle."""
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    for path in FILES:
        nodes = [n for n in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(n, documented)]
        first = {(ast.get_docstring(node) or "").split(" ")[0] for node in nodes}
        assert not first & {"What", "Whether", "How", "Where", "Which", "Who", "When"}, path.name


@every_file
def test_user_input_is_never_checked_by_assert(path):
    assert not [node for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, ast.Assert)]


def test_one_door_leads_to_tensorflow():
    for path in FILES:
        if part(path) in ("layers", "models") and path.name != "kernels.py":
            assert not any(name.endswith("tensorflow_kernels") for name in imports(path)), path.name


def public_layers():
    import keras

    for path in sorted((ROOT / "layers").glob("*.py")):
        module = importlib.import_module(f"tftransformer.layers.{path.stem}")
        for name, value in vars(module).items():
            if inspect.isclass(value) and issubclass(value, keras.layers.Layer) and value.__module__ == module.__name__:
                yield name, value


def test_every_layer_is_exported_and_registered_for_serialisation():
    import keras

    from tftransformer import layers

    bases = {
        "AttentionPosition",
        "ConfiguredLayer",
        "PositionBias",
        "ProjectionDelta",
        "ResidualBlock",
        "SlottedLayer",
    }  # to be derived from, not to stand in a model
    found = dict(public_layers())
    others = {"Taps", "tap", "tapped"}
    assert len(found) > 15 and set(found) == set(layers.__all__) - others
    for name, layer in found.items():
        registered = keras.saving.get_registered_name(layer)
        assert registered == (name if name in bases else f"tftransformer>{name}")
        assert bool({"get_config", "arguments"} & set(vars(layer))) == ("__init__" in vars(layer)) or name in bases, (
            name
        )


def test_public_signatures_are_annotated():
    bare = []
    for path in FILES:
        for node in ast.parse(path.read_text("utf-8")).body:
            if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
                arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
                if node.returns is None or any(a.annotation is None for a in arguments):
                    bare.append(f"{path.relative_to(ROOT)}: {node.name}")
    assert not bare
