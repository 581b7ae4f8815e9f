"""Parquet files give the cells that JSON gives."""

import json
import sys

import pytest

from tftransformer.data import load, load_pairs
from tftransformer.data.readers.jsonl import read_jsonl
from tftransformer.data.readers.parquet import read_parquet
from tftransformer.data.readers.unlabelled import read_texts
from tftransformer.errors import TransformerError

pyarrow = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")

ROWS = [
    {"text": f"text {i}", "label": i % 2, "score": i + 0.5, "marks": ["a", "b"], "yes": bool(i % 2), "none": None}
    for i in range(6)
]


def test_cells_are_those_of_json(tmp_path):
    parquet.write_table(pyarrow.Table.from_pylist(ROWS), tmp_path / "t.parquet")
    (tmp_path / "t.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    found, expected = read_parquet(tmp_path / "t.parquet"), read_jsonl(tmp_path / "t.jsonl")
    assert found.names == expected.names and found.lines == expected.lines
    assert [list(row) for row in found.rows] == [list(row) for row in expected.rows]


def test_other_values_are_text_or_missing(tmp_path):
    table = pyarrow.table({
        "number": pyarrow.array([float("nan"), 2.0]), "bytes": pyarrow.array([b"\xc3\xa9", b"x"]),
        "kind": pyarrow.array(["a", "b"]).dictionary_encode(),
    })  # fmt: skip
    parquet.write_table(table, tmp_path / "t.parquet")
    assert read_parquet(tmp_path / "t.parquet").rows == [(None, "é", "a"), ("2.0", "x", "b")]


def test_every_way_in_reads_it(tmp_path):
    parquet.write_table(pyarrow.Table.from_pylist(ROWS), tmp_path / "train.parquet")
    assert load(tmp_path, validation_fraction=0, test_fraction=0).train.texts == [row["text"] for row in ROWS]
    assert read_texts(tmp_path / "train.parquet") == [row["text"] for row in ROWS]
    pairs = load_pairs(tmp_path, "text", "marks", validation_fraction=0, test_fraction=0).train
    assert pairs.texts[:2] == [("text 0", "a"), ("text 0", "b")]


def test_what_cannot_be_read_is_said_in_a_line(tmp_path, monkeypatch):
    (tmp_path / "t.parquet").write_bytes(b"PAR1 or not")
    with pytest.raises(TransformerError, match="t.parquet cannot be read as Parquet: ") as raised:
        read_parquet(tmp_path / "t.parquet")
    assert "\n" not in str(raised.value)
    parquet.write_table(pyarrow.table([[1], [2]], names=["a", "a"]), tmp_path / "t.parquet")
    with pytest.raises(TransformerError, match="columns of different names; got 'a' twice"):
        read_parquet(tmp_path / "t.parquet")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(TransformerError, match="Parquet files need pyarrow"):
        read_parquet(tmp_path / "t.parquet")
