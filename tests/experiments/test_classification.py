"""Mistakes in a classification run: one line that says what is wrong, and nothing written."""

import csv
import dataclasses

import pytest

from tftransformer.errors import TransformerError
from tftransformer.experiments import classification
from tftransformer.experiments.options import ClassificationOptions


@pytest.fixture
def data(tmp_path, reviews):
    texts, labels = reviews

    def write(name, rows, header=("text", "label")):
        with open(tmp_path / name, "w", newline="") as file:
            csv.writer(file).writerows([header, *rows])
        return str(tmp_path / name)

    write("ok.csv", list(zip(texts, labels)))
    write("one_class.csv", [(text, "same") for text in texts])
    write("no_label.csv", [*zip(texts, labels), ("a text", "")])
    write("unseen.csv", [("a text", "never seen")])
    (tmp_path / "empty.csv").write_text("")
    (tmp_path / "latin.csv").write_bytes("text,label\na,b\ncaf\u00e9,b\n".encode("latin-1"))
    return tmp_path


MISTAKES = [
    (dict(dataset="{data}/missing.csv"), "missing.csv"),
    (dict(dataset="{data}/ok.csv", text_columns=["txt"]), "did you mean 'text'"),
    (dict(dataset="{data}/ok.csv", label_column="lable"), "did you mean 'label'"),
    (dict(dataset="{data}/no_label.csv"), "no_label.csv.*62"),
    (dict(dataset="{data}/one_class.csv"), "same"),
    (dict(train_path="{data}/ok.csv", test_path="{data}/unseen.csv"), "never seen"),
    (dict(dataset="{data}/latin.csv"), "latin.csv.*3"),
    (dict(dataset="{data}/empty.csv"), "empty"),
    (dict(dataset="{data}/ok.csv", preset="bert_bse_en_uncased"), "did you mean 'bert_base_en_uncased'"),
    (dict(dataset="{data}/ok.csv", freeze_layers=13), "freeze_layers must be between 0 and 2.*13"),
    (dict(dataset="{data}/ok.csv", max_length=4000), "max_length must be between 3 and 32.*4000"),
    (dict(dataset="{data}/ok.csv", schedule="linaer"), "did you mean 'linear'"),
    (dict(dataset="{data}/ok.csv", distribution="mirored"), "did you mean 'mirrored'"),
    (dict(dataset="{data}/ok.csv", strategy="freeze:3"), "layers must be between 0 and 2"),
    (dict(dataset="{data}/ok.csv", class_weight="balancd"), "did you mean 'balanced'"),
    (dict(dataset="{data}/ok.csv", output_dir="{data}"), "output_dir"),
    (dict(dataset="{data}/ok.csv", prefix_cache="of"), "prefix_cache must be.*'of'; did you mean 'off'"),
    (dict(dataset="{data}/ok.csv", prefix_cache="{data}"), "prefix_cache.*holds 'empty.csv'"),
    (dict(dataset="{data}/ok.csv", prefix_cache="{data}/ok.csv"), "prefix_cache must be a folder.*is a file"),
    (dict(dataset="{data}/ok.csv", prefix_cache="{data}/ok.csv/x"), "cannot write .*Not a directory"),
    (dict(dataset="{data}/missing.csv", prefix_cache="{data}/new"), "missing.csv"),
]


@pytest.mark.parametrize(("options", "message"), MISTAKES, ids=lambda value: str(value)[:40])
def test_mistakes_in_one_line(data, tiny_preset, options, message):
    given = {
        key: value.format(data=data) if isinstance(value, str) else value for key, value in options.items()
    }
    given = {"preset": str(tiny_preset), "output_dir": str(data / "run"), **given}
    before = sorted(p.name for p in data.iterdir())
    with pytest.raises(TransformerError, match=message) as error:
        classification.train(ClassificationOptions(**given))
    assert "\n" not in str(error.value)
    assert sorted(p.name for p in data.iterdir()) == before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(batch_size=0), "batch_size must be at least 1; got 0"),
        (dict(epochs=-1), "epochs must be at least 1"),
        (dict(freeze_layers=-1), "freeze_layers must be at least 0"),
        (dict(strategy="lara:8"), "strategy must be one of .*; got 'lara:8'; did you mean 'lora'"),
        (dict(strategy="lora:8", freeze_layers=2), "freeze_layers goes with the strategy 'freeze'"),
        (dict(learning_rate=0.0), "learning_rate"),
        (dict(learning_rate=float("nan")), "learning_rate"),
        (dict(mixed_precision="bf16"), "did you mean 'bfloat16'"),
        (dict(max_length=2), "max_length must be at least 3"),
        (dict(add_labels=True), "add_labels goes with init_from"),
        (dict(train_examples=1), "train_examples must be at least 2"),
        (dict(augmentation=["swp:0.1"]), "operation must be one of .*; got 'swp:0.1'; did you mean 'swap'"),
        (dict(augmentation="swap:2"), "the rate of swap must be above 0 and at most 1; got 2.0"),
        (dict(augmentation_copies=-1), "augmentation_copies must be at least 0; got -1"),
    ],
)
def test_options_out_of_range_are_refused_before_anything_is_read(options, message):
    with pytest.raises(TransformerError, match=message):
        ClassificationOptions(**options)


def test_every_flag_of_the_example_is_an_option_and_has_its_default():
    import importlib.util
    from pathlib import Path

    from absl import flags

    script = Path(__file__).resolve().parents[2] / "examples" / "classify.py"
    spec = importlib.util.spec_from_file_location("classify_example", script)
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        for field in dataclasses.fields(ClassificationOptions):
            assert flags.FLAGS[field.name].default == field.default, field.name
    finally:
        for name in flags.FLAGS.get_flags_for_module(module) if spec else ():
            delattr(flags.FLAGS, name.name)


def test_freeze_layers_is_a_short_form_of_the_strategy():
    assert str(ClassificationOptions().fine_tuning()) == "full"
    assert str(ClassificationOptions(freeze_layers=3).fine_tuning()) == "freeze:3"
    assert str(ClassificationOptions(strategy="freeze", freeze_layers=3).fine_tuning()) == "freeze:3"
    assert str(ClassificationOptions(strategy="lora").fine_tuning()) == "lora:8"


def test_second_texts_go_with_first_texts():
    assert classification.pair_up(["a"], None) == ["a"]
    assert classification.pair_up(["a"], ["b"]) == [("a", "b")]
    with pytest.raises(TransformerError, match="text_pair must be given once for each text"):
        classification.pair_up(["a"], ["b", "c"])


def test_a_finished_run_is_needed_to_predict(tmp_path):
    with pytest.raises(TransformerError, match="model must be given"):
        classification.predict("", ["a"])
    with pytest.raises(TransformerError, match="does not exist"):
        classification.predict(tmp_path / "nothing", ["a"])
    with pytest.raises(TransformerError, match="needs a text"):
        classification.predict(tmp_path, [])
