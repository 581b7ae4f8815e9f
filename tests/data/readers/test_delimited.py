import csv
import io

import pytest

from tftransformer.data.readers.delimited import read_delimited, tsv_is_quoted
from tftransformer.errors import TransformerError

hypothesis = pytest.importorskip("hypothesis")
given, settings, st = hypothesis.given, hypothesis.settings, hypothesis.strategies

CELLS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
QUOTABLE = st.text('ab"\t,\n é', max_size=6)


def read(tmp_path, data, name="f.csv"):
    path = tmp_path / name
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return read_delimited(path)


def written(rows, delimiter=",", quoting=csv.QUOTE_MINIMAL, end="\r\n"):
    out = io.StringIO(newline="")
    csv.writer(out, delimiter=delimiter, quoting=quoting, lineterminator=end).writerows(rows)
    return out.getvalue()


@settings(max_examples=60, suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(CELLS, CELLS, CELLS), min_size=1, max_size=8), st.sampled_from(["\n", "\r\n"]), st.booleans())
def test_csv_round_trip(tmp_path, rows, end, mark):
    rows = [("text", "a", "b"), *rows]
    text = written(rows, quoting=csv.QUOTE_ALL, end=end)
    table = read(tmp_path, ("\ufeff" if mark else "") + text)
    assert [tuple(row) for row in table.rows] == rows


@settings(max_examples=100, suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(QUOTABLE, QUOTABLE), min_size=1, max_size=8))
def test_quoted_tsv_round_trip(tmp_path, rows):
    rows = [("text", "label"), *rows]
    text = written(rows, "\t", csv.QUOTE_ALL)
    assert [tuple(row) for row in read(tmp_path, text, "f.tsv").rows] == rows


@settings(max_examples=100, suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.text('ab" ,é\u2028\x85', max_size=8), st.sampled_from("01")), max_size=8))
def test_tsv_with_a_lone_quote_is_text_throughout(tmp_path, rows):
    rows = [("sentence", "label"), ('a 5" disk', "1"), *rows]
    text = "".join("\t".join(row) + "\n" for row in rows)
    assert [tuple(row) for row in read(tmp_path, text, "f.tsv").rows] == rows


@pytest.mark.parametrize(
    "text, quoted",
    [
        ("a\tb\nc\td\n", False),
        ('t\tl\nhe said "no"\t1\n', False),
        ('"t"\t"l"\n"a\t\nb"\t"1"\n', True),
        ('t\tl\n"begins\t1\nends"\t1\n', False),  # read as quoted, a row would vanish
        ('t\tl\n"whole"\t1\nplain\t0\n', False),  # nothing here needed quotes
        ('t\tl\n"a\tb"\t1\nplain\t0\n', True),
        ('t\tl\n"two\nlines"\t1\nplain\t0\n', True),
        ('t\tl\n"a ""b"""\t1\nplain\t0\n', True),
        ('t\tl\n"a"\t1\n"b"\t0', True),
        ('"a"\t"b"\n"c"\t"d"\r\n', True),
        ('t\tl\n""\t1\n""\t0\n', True),
    ],
)
def test_rule_for_quotes_in_tsv(text, quoted):
    assert tsv_is_quoted(text) is quoted


def test_lines_are_those_of_the_file(tmp_path):
    table = read(tmp_path, 'text,label\n\n"two\nlines",x\nlast,y\n')
    assert table.lines == [1, 3, 5] and table.rows[1] == ["two\nlines", "x"]
    assert read(tmp_path, "a\tb\n\nc\td\n", "f.tsv").lines == [1, 3]


def test_long_fields_and_other_delimiters(tmp_path):
    limit = csv.field_size_limit()
    assert len(read(tmp_path, f'text,label\n"{"x" * 300_000}",1\n').rows[1][0]) == 300_000
    assert csv.field_size_limit() == limit
    assert read(tmp_path, "text;label\na, b;1\n").rows[1] == ["a, b", "1"]
    assert read(tmp_path, "text\tlabel\ra\t1\r", "f.tsv").rows == [["text", "label"], ["a", "1"]]


@pytest.mark.parametrize(
    "data, message",
    [
        (b"", "f.csv is empty"),
        (b" \n\n", "f.csv is empty"),
        (b"text,label\na,1\nb\xff,0\n", "f.csv:3: not UTF-8, byte 0xff"),
        (b"\xef\xbb\xbftext,label\nb\xe9,0\n", "f.csv:2: not UTF-8, byte 0xe9"),
        ("text,label\na,1\n".encode("utf-16"), "f.csv:1: not UTF-8 but UTF-16"),
        (b"text,label\na\0,1\n", "f.csv:2: a NUL byte"),
        (b"text,label\na,1\nb\n", "f.csv:3: 1 field, but the first row has 2"),
        (b"text,label\na,1,2\nb,0\n", "f.csv:2: 3 fields, but the first row has 2"),
        (b'text,label\na,1\n"b,0\nc,1\n', "f.csv:3: misplaced or unclosed quote"),
        (b'text,label\n"b" c,0\n', "f.csv:2: misplaced or unclosed quote"),
    ],
)
def test_bad_files_say_where(tmp_path, data, message):
    with pytest.raises(TransformerError) as error:
        read(tmp_path, data)
    assert message in str(error.value) and "\n" not in str(error.value)


def test_an_unreadable_file_is_an_error(tmp_path):
    with pytest.raises(TransformerError, match="cannot be read"):
        read_delimited(tmp_path)
