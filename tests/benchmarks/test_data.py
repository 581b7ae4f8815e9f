"""The data benchmark: every reader gives all texts and the same tokens."""

import importlib
from pathlib import Path

import pytest
from sidebyside.turns import reading

import tftransformer as tt

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("worker", ["ours", "kerashub", pytest.param("huggingface", marks=pytest.mark.live)])
def test_a_reader_gives_every_row_and_its_tokens(worker, tmp_path, monkeypatch):
    if worker == "huggingface":
        pytest.importorskip("transformers")
    monkeypatch.syspath_prepend(ROOT / "benchmarks" / "workers")
    prepare, turn = reading(importlib.import_module(worker).build_reader)
    (tmp_path / "rows.tsv").write_text("0\tgood film\n1\ta bad film\n1\tfilm\n" * 4, "utf-8")
    vocabulary = Path(tt.__file__).parent / "presets/bert_12x192_en_uncased/vocab.txt"
    settings = {"vocabulary": str(vocabulary), "length": 8, "batch_size": 4, "measure": "speed"}
    state, _ = prepare({**settings, "file": str(tmp_path / "rows.tsv")})
    figures = turn(state, 0)
    # [CLS] and [SEP] with two, three and one word, four times each; padding does not count.
    assert figures["tokens"] == 4 * (4 + 5 + 3) and 0 <= figures["padding"] < 1
