import json

import pytest

from tftransformer.data.readers.jsonl import MISSING, read_json_splits, read_jsonl
from tftransformer.errors import TransformerError

hypothesis = pytest.importorskip("hypothesis")
given, settings, st = hypothesis.given, hypothesis.settings, hypothesis.strategies


def read(tmp_path, text, name="f.jsonl"):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8", newline="")
    return read_jsonl(path)


@settings(suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture])
@given(st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=1, max_size=5), st.booleans())
def test_round_trip(tmp_path, texts, escape):
    lines = [json.dumps({"text": t, "label": "x"}, ensure_ascii=escape) for t in texts]
    hypothesis.assume(escape or not any("\0" in line for line in lines))
    assert [row[0] for row in read(tmp_path, "\r\n".join(lines)).rows] == texts


def test_numbers_stay_as_written_and_missing_keys_show(tmp_path):
    assert read(tmp_path, '{"text": "a", "label": NaN}').rows == [["a", None]]
    table = read(tmp_path, '{"text": "a", "label": 1}\n\n{"label": 1.0, "more": null}\n')
    assert table.names == ("text", "label", "more") and table.lines == [1, 3]
    assert table.rows == [["a", "1", MISSING], [MISSING, "1.0", None]]


def test_json_arrays(tmp_path):
    table = read(tmp_path, '[{"text": "a", "label": true},\n {"text": "b", "label": []}]', "f.json")
    assert table.rows == [["a", True], ["b", []]]


@pytest.mark.parametrize(
    "text, message",
    [
        ('{"text": "a"}\n{"text": \n', "f.jsonl:2: not JSON: Expecting value"),
        ('{"text": "a"}\n["b", 1]\n', "f.jsonl:2: each row must be an object"),
        ("{}\n{}\n", "f.jsonl has no columns"),
        (
            '{"text": "a"}\n{"text": "b", "label": 1, "text": "c"}\n',
            "f.jsonl:2: an object must have each key once; 'text' is there twice",
        ),
        ("[" * 100_000, "f.jsonl:1: JSON nested too deeply"),
        ("\n", "f.jsonl is empty"),
    ],
)
def test_bad_lines_say_where(tmp_path, text, message):
    with pytest.raises(TransformerError) as error:
        read(tmp_path, text)
    assert message in str(error.value) and "\n" not in str(error.value)


def test_one_object_with_a_list_for_each_split(tmp_path):
    path = tmp_path / "f.json"
    path.write_text(json.dumps({"train": [["a", "x"]], "val": [{"text": "b"}], "note": "n", "five": [[1, 2, 3]]}))
    tables = read_json_splits(path)
    assert tables["train"].names == ("text", "label") and tables["train"].rows == [["a", "x"]]
    assert tables["val"].names == ("text",) and tables["five"].names == ("1", "2", "3") and "note" not in tables
    path.write_text('{"train": [["a", "x"], ["b"]]}')
    with pytest.raises(TransformerError, match=r"f.json\[train\]:2: this row is unlike the first one"):
        read_json_splits(path)
    path.write_text('{"train": [{}]}')
    with pytest.raises(TransformerError, match=r"f.json\[train\] has no columns"):
        read_json_splits(path)
    path.write_text('{"text": "a"}\n{"text": "b"}')
    assert read_json_splits(path) is None
