"""The fine-tuning benchmark: its flags, its sections, what its tables add, and a tiny run of the whole."""

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from finetune import FLAG_RULES, SECTIONS, choose_sections, section_rows, section_text
from finetune_sections import PEAK, TINY, Bench, Section
from sidebyside.flag_rules import check_flags
from sidebyside.rounds import Contender, Outcome

from tftransformer.errors import TransformerError

ROOT = Path(__file__).resolve().parents[2]


def choose(sections=None, quick=False, data=None, minilm=None):
    return choose_sections(sections, quick, data, minilm)


def test_sections_follow_the_flags(tmp_path):
    names, notes = choose()
    assert names == ["fixed", "freeze", "freeze_8_of_12", "base"]
    assert notes == ["no --data, so no real texts: lengths and accuracy left out"]
    names, notes = choose(data=str(tmp_path), minilm=str(tmp_path))
    assert names == [name for name in SECTIONS if name != "compiled"] and not notes
    assert choose(["compiled"]) == (["compiled"], [])
    assert choose(quick=True, data=str(tmp_path)) == (["fixed", "freeze", "lengths"], [])
    assert "embedded preset" in choose(["accuracy"], data=str(tmp_path))[1][0]


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ({"rounds": 0}, "rounds must be at least 1; got 0"),
        ({"target": 1.0}, "target must be above 0 and below 1; got 1.0"),
        ({"timeout": 0.0}, "timeout must be above 0; got 0.0"),
        ({"data": "nowhere"}, "data must be a folder; got 'nowhere'"),
        ({"minilm": "nowhere"}, "minilm must be a folder; got 'nowhere'"),
    ],
)
def test_flags_are_checked(flags, words):
    check_flags(FLAG_RULES, {name: None for name in flags})
    with pytest.raises(TransformerError, match=words):
        check_flags(FLAG_RULES, flags)


def test_an_unknown_section_is_refused():
    with pytest.raises(TransformerError, match="sections must be among .*; got 'fixd'; did you mean 'fixed'"):
        choose(["fixd"])


def test_contenders_of_a_section_get_the_same_work(tmp_path, monkeypatch):
    # Weights are not needed to see what each contender is told.
    monkeypatch.setattr("finetune_sections.random_folder", lambda folder, layers, width: folder)
    bench = Bench(tmp_path, dataclasses.replace(TINY, frozen=(2, 4, 6)))
    sections = [
        section for name in SECTIONS if name not in ("lengths", "accuracy") for section in getattr(bench, name)()
    ]
    assert len(sections) == 9
    for section in sections:
        told = [c.settings for c in section.contenders if c is not PEAK and "alone" not in c.name]
        for key in ("train", "folder", "batch_size", "learning_rate", "epochs", "warm_up_rows", "freeze"):
            assert len({settings[key] for settings in told}) == 1, (section.title, key)
        assert all(c.script.is_file() for c in section.contenders)
        texts = json.loads(Path(told[0]["train"]).read_text())
        assert len(texts["texts"]) == told[0]["rows"] * (TINY.rounds + 1)
    assert [s.contenders[0].settings["freeze"] for s in sections[3:7]] == [2, 4, 6, 8]


@pytest.mark.parametrize(("positions", "told"), [(512, None), (256, 256)])
def test_no_contender_is_longer_than_the_encoder(tmp_path, monkeypatch, positions, told):
    def folder(source, path, labels):
        path.mkdir()
        (path / "config.json").write_text(json.dumps({"max_position_embeddings": positions}))
        return path

    monkeypatch.setattr("finetune_sections.pretrained_folder", folder)
    monkeypatch.setattr(Bench, "_longest", lambda bench, shared: 40)
    (tmp_path / "sst2").mkdir()
    for split in ("train", "dev"):
        rows = "".join(f"text number {i}\t{i % 2}\n" for i in range(40))
        (tmp_path / "sst2" / f"{split}.tsv").write_text("sentence\tlabel\n" + rows)
    bench = Bench(tmp_path, TINY, data=str(tmp_path))
    contenders = {
        "float32": [positions, told, positions],
        "bfloat16": [positions, 40, positions],
        None: [positions, positions, told, 40, positions, positions],
    }
    for section in (*bench.lengths(), *bench.accuracy()):
        settings = [c.settings for c in section.contenders if c is not PEAK]
        kinds = {s["precision"] for s in settings}
        expected = contenders[kinds.pop() if len(kinds) == 1 else None]
        assert [s["length"] for s in settings] == expected
    assert section.kind == "accuracy" and section.contenders[2].rounds == 1


def outcome(name, rate, precision="float32", loss=0.7, **ready):
    turns = [{"examples_per_second": rate, "real_gflops": 10.0, "computed_gflops": 20.0}]
    contender = Contender(name, "x.py", {"precision": precision})
    return Outcome(contender, {"loss_before": loss, "dropout": 0.1, "batch_size": 4, **ready}, turns, 10**9)


def test_ratios_are_at_equal_precision_and_shares_of_the_round_s_peak():
    outcomes = {
        "ours, fp32": outcome("ours, fp32", 10.0),
        "theirs, fp32": outcome("theirs, fp32", 5.0),
        "ours, bf16": outcome("ours, bf16", 30.0, "bfloat16"),
        "theirs, bf16": outcome("theirs, bf16", 20.0, "bfloat16", loss=0.9),
        PEAK.name: Outcome(PEAK, {}, [{"peak_float32": 40.0, "peak_bfloat16": 80.0}], 10**9),
    }
    section = Section("title", "speed", [], 1)
    rows = section_rows(section, outcomes)
    ratios = [row["figures"].get("examples_per_second_ratio", {}).get("median") for row in rows]
    assert ratios == [1.0, 2.0, 1.0, 1.5, None]
    shares = [row["figures"]["computed_share"]["median"] for row in rows[:4]]
    assert shares == [0.5, 0.5, 0.25, 0.25]
    text = section_text(section, rows)
    assert "Matrix products: 40 GFLOP/s in fp32, 80 in bf16." in text
    assert "Not alike: theirs, bf16 has loss before 0.9, the others 0.7." in text and text.count("Not alike") == 1


@pytest.mark.slow
def test_a_tiny_run_gives_tables_and_a_wrong_flag_one_line(tmp_path):
    def run(*flags):
        return subprocess.run(
            [sys.executable, str(ROOT / "benchmarks" / "finetune.py"), *flags],
            cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=900,
            check=False,
        )  # fmt: skip

    done = run("--tiny", "--quick", "--sections=freeze", "--output_dir=out")
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.splitlines()[-1] == "saved out" and "Traceback" not in done.stderr
    assert "Not alike" not in done.stdout
    result = json.loads((tmp_path / "out" / "finetune.json").read_text())
    (part,) = result["sections"].values()
    ours = part["rows"][0]
    assert ours["name"] == "ours, fp32" and ours["failure"] is None
    assert ours["turns"][0]["steps"] == 3 * TINY.freeze // TINY.batch_size
    assert (tmp_path / "out" / "finetune.md").is_file() and (tmp_path / "out" / "finetune.png").is_file()
    done = run("--tiny", "--sections=freeze_8_of_12", "--output_dir=out")
    assert done.returncode == 0, done.stderr[-3000:]
    added = json.loads((tmp_path / "out" / "finetune.json").read_text())["sections"]
    assert len(added) == 2 and (tmp_path / "out" / "finetune.md").read_text().count("## ") == 2
    done = run("--sections=fixd")
    assert done.returncode == 1
    assert done.stderr.strip().splitlines()[-1].startswith("error: --sections must be among")
