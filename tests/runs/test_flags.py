"""Flags made from dataclasses of options: kinds, defaults, what is read back, and what is told of mistakes."""

import dataclasses
import importlib
from collections.abc import Sequence

import pytest
from absl import flags

from tftransformer.errors import TransformerError
from tftransformer.runs.commands import COMMANDS
from tftransformer.runs.commands.compare_strategies import TableOptions
from tftransformer.runs.flags import OptionFlags, check_options, flag_names, name_flags, option, read_range
from tftransformer.runs.options import ClassificationOptions


@dataclasses.dataclass(frozen=True)
class Options:
    """One of each kind."""

    word: str = option("a", "A word.")
    epochs: int | None = option(None, "A number.", least=1, argument="passes")
    rate: float = option(0.5, "A rate.")
    sure: bool = option(True, "A choice.")
    side: str | None = option(None, "A side.", choices=("left", "right"))
    columns: Sequence[str] | str | None = option(None, "Words with commas.")
    sizes: Sequence[int] = option((50, 200), "Numbers with commas.")
    between: float | tuple[float, float] = option((1e-3, 0.1), "Two ends.", read=read_range)
    texts: tuple[str, ...] | None = option(None, "Given several times.")


def parsed(part, *arguments, values=None):
    values = flags.FlagValues() if values is None else values
    part.define(values)
    values(["program", *arguments])
    return part


def test_flags_unset_are_the_defaults():
    part = parsed(OptionFlags(Options))
    assert part.read() == Options() and part.given() == {}


def test_every_kind_is_read_back():
    part = parsed(
        OptionFlags(Options), "--word=b", "--epochs=3", "--rate=1e-3", "--nosure", "--side=left", "--columns=a,b",
        "--sizes=1,2", "--between=2", "--texts=one, two", "--texts=three",
    )  # fmt: skip
    told = {
        "word": "b", "epochs": 3, "rate": 1e-3, "sure": False, "side": "left", "columns": ["a", "b"], "sizes": (1, 2),
        "between": 2.0, "texts": ["one, two", "three"],
    }  # fmt: skip
    assert part.read() == Options(**told) and part.given() == told
    assert part.read(word="c").word == "c"


def test_help_and_choices_are_the_fields_or_what_stands_in_for_them():
    values = flags.FlagValues()
    parsed(OptionFlags(Options, only=["word", "side"], word="Another word."), values=values)
    assert values["word"].help == "Another word." and values["side"].parser.enum_values == ["left", "right"]
    assert "rate" not in values


def test_numbers_in_lists_are_numbers():
    with pytest.raises(TransformerError, match="sizes must be whole numbers with commas between; got '1,x'"):
        parsed(OptionFlags(Options, only=["sizes"]), "--sizes=1,x").read()


def test_a_number_below_its_least_is_one_line():
    check_options(Options(epochs=1))
    with pytest.raises(TransformerError, match="^epochs must be at least 1; got 0$"):
        check_options(Options(epochs=0))


def test_names_that_are_no_fields_are_refused():
    for given in ({"only": ["wrd"]}, {"without": ["wrd"]}, {"wrd": "A word."}):
        with pytest.raises(TransformerError, match="Options must have the field 'wrd'"):
            OptionFlags(Options, **given)


@pytest.mark.parametrize("command", COMMANDS)
def test_the_flags_of_a_command_are_defined_once_and_explained(command):
    module = importlib.import_module(f"tftransformer.runs.commands.{command}")
    names = [name for part in module.FLAGS for name in part.names]
    assert len(set(names)) == len(names) > 1
    values = flags.FlagValues()
    for part in module.FLAGS:
        part.define(values)
    assert all(values[name].help.strip() for name in names)


FLAGS = (
    "strategy", "freeze_layers", "epochs", "preset", "text_columns", "label_column", "train_path", "test_path", "output_dir",
    "overwrite", "init_from", "add_labels", "augmentation", "dataset", "texts", "model", "class_weight", "minutes", "steps",
)  # fmt: skip
RUN, TABLE = (flag_names(dataclasses.fields(options)) for options in (ClassificationOptions, TableOptions))


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ("epochs must be at least 1; got 0", "--epochs must be at least 1; got 0"),
        ("layers must be between 0 and 12; got 13", "--freeze_layers must be between 0 and 12; got 13"),
        ("strategy lora takes a positive integer; got 'lora:0'", "--strategy lora takes a positive integer; got 'lora:0'"),
        (
            "strategy freeze:13 cannot be applied: layers must be between 0 and 12",
            "--strategy freeze:13 cannot be applied: layers must be between 0 and 12",
        ),
        ("operation must be one of swap; got 'swp'", "--augmentation must be one of swap; got 'swp'"),
        ("texts: there is no file none.txt", "--texts: there is no file none.txt"),
        (
            "text_columns: data/a.csv has no column 'text_columns'; name it with label_column (by number)",
            "--text_columns: data/a.csv has no column 'text_columns'; name it with --label_column (by number)",
        ),
        (
            "add_labels goes with init_from: labels are added to those of a run",
            "--add_labels goes with --init_from: labels are added to those of a run",
        ),
        (
            "output_dir must not hold a run; runs/x does: pass overwrite=True to replace it, or another output_dir",
            "--output_dir must not hold a run; runs/x does: pass --overwrite to replace it, or another --output_dir",
        ),
        ("name the data: a file, or train=PATH", "name the data: a file, or --train_path=PATH"),
        (
            "give either minutes or steps; got minutes=None and steps=None",
            "give either minutes or steps; got --minutes=None and --steps=None",
        ),
        ("--texts is missing; --help lists the flags", "--texts is missing; --help lists the flags"),
        (
            "epochs * minutes must be a multiple of minutes + steps, so that all steps count; got 4 * 2 and 2 + 4",
            "--epochs * --minutes must be a multiple of --minutes + --steps, so that all steps count; got 4 * 2 and 2 + 4",
        ),
        ("minutes and steps must be at most 3", "--minutes and --steps must be at most 3"),
        # Prose and data.
        ("test split has no rows", "test split has no rows"),
        ("train: some splits hold pairs of texts, others texts", "train: some splits hold pairs of texts, others texts"),
        ("there is no preset or folder 'bert_bse'", "there is no preset or folder 'bert_bse'"),
        ("cannot write runs/train_path/x: full", "cannot write runs/train_path/x: full"),
        ("a run needs a test split to report on", "a run needs a test split to report on"),
        ("class_weight='balanced' needs all labels", "--class_weight='balanced' needs all labels"),
        ("space['epochs'] must be (low, high); got (3, 2)", "--epochs must be (low, high); got (3, 2)"),
        ("space['batch_size'] must list numbers", "space['batch_size'] must list numbers"),
        ("dataset: review.csv does not exist", "--dataset: review.csv does not exist"),
    ],
)  # fmt: skip
def test_arguments_become_flags(message, shown):
    assert name_flags(message, FLAGS, *RUN) == shown


def test_a_flag_of_that_name_comes_first_and_commands_without_flags_change_nothing():
    assert name_flags("layers must be at most 2", ["layers", "freeze_layers"], *RUN) == "--layers must be at most 2"
    assert name_flags("strategy lora takes 1", ["strategies"], *TABLE) == "--strategies lora takes 1"
    assert name_flags("layers must be at most 2", []) == "layers must be at most 2"
