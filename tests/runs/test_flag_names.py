"""Messages of the library on the command line: what names an argument names a flag, prose and data stay."""

import dataclasses

import pytest

from tftransformer.runs.commands.compare_strategies import TableOptions
from tftransformer.runs.flags import carried, name_flags
from tftransformer.runs.options import ClassificationOptions

FLAGS = (
    "strategy", "freeze_layers", "epochs", "preset", "text_columns", "label_column", "train_path", "test_path", "output_dir",
    "overwrite", "init_from", "add_labels", "augmentation", "dataset", "texts", "model", "class_weight", "minutes", "steps",
)  # fmt: skip
RUN, TABLE = (carried(dataclasses.fields(options)) for options in (ClassificationOptions, TableOptions))


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
    assert (
        name_flags("layers must be at most 2", ["layers", "freeze_layers"], *RUN)
        == "--layers must be at most 2"
    )
    assert name_flags("strategy lora takes 1", ["strategies"], *TABLE) == "--strategies lora takes 1"
    assert name_flags("layers must be at most 2", []) == "layers must be at most 2"
