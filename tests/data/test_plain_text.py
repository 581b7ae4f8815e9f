"""Finding, reading and cutting plain text."""

import gzip

import pytest

from tftransformer.data import plain_text
from tftransformer.errors import TransformerError


def test_files_are_found_by_name_and_in_folders(tmp_path):
    (tmp_path / "a.txt").write_text("A.")
    (tmp_path / "inside").mkdir()
    with gzip.open(tmp_path / "inside" / "b.txt.gz", "wt", encoding="utf-8") as file:
        file.write("Über.\n\nZwei.\n")
    (tmp_path / "c.md").write_text("no")
    found = plain_text.find_text_files([tmp_path / "c.md", tmp_path])
    assert [path.name for path in found] == ["c.md", "a.txt", "b.txt.gz"]
    assert list(plain_text.read_paragraphs(found[2])) == ["Über.", "", "Zwei."]


def test_missing_and_empty_places_are_errors(tmp_path):
    with pytest.raises(TransformerError, match="there is no file or folder"):
        plain_text.find_text_files(tmp_path / "none")
    with pytest.raises(TransformerError, match="holds no .txt or .txt.gz file"):
        plain_text.find_text_files(tmp_path)
    with pytest.raises(TransformerError, match="at least one file"):
        plain_text.find_text_files([])


def test_bytes_that_are_not_utf8_are_named_with_their_line(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(b"good\n\xff\xfe\n")
    with pytest.raises(TransformerError, match="a.txt, line 2: the text is not UTF-8"):
        list(plain_text.read_paragraphs(path))


@pytest.mark.parametrize("cut", [False, True])
def test_damaged_gzip_is_an_error(tmp_path, cut):
    path = tmp_path / "a.txt.gz"
    path.write_bytes(gzip.compress(b"one text\n" * 1000)[:40] if cut else b"plain text")
    with pytest.raises(TransformerError, match="damaged or no gzip file"):
        list(plain_text.read_paragraphs(path))


def test_cutting_into_sentences_loses_no_word():
    paragraph = 'One (two). "Three?" Four!  Five; six ... seven'
    cuts = plain_text.sentences(paragraph)
    assert " ".join(cuts).split() == paragraph.split()
    assert cuts[:2] == ["One (two).", '"Three?"']
    assert plain_text.sentences("") == []
