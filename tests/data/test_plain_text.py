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


def test_packing_keeps_every_word_in_order_within_the_limit():
    paragraphs = ["One two three. Four five! Six?", "Seven " * 30 + "end.", "", "Other document."]
    texts = list(plain_text.pack_texts(paragraphs, most_words=8))
    assert " ".join(texts).split() == " ".join(paragraphs).split()
    assert max(len(text.split()) for text in texts) <= 8
    assert texts[0] == "One two three. Four five! Six?"
    assert texts[-1] == "Other document."


def test_drawn_limits_vary_the_lengths_and_lose_nothing():
    paragraphs = ["A b c d e f. " * 200]
    texts = list(plain_text.pack_texts(paragraphs, most_words=48, fewest_words=4, seed=3))
    assert " ".join(texts).split() == paragraphs[0].split()
    assert len({len(text.split()) for text in texts}) > 4
    assert texts == list(plain_text.pack_texts(paragraphs, most_words=48, fewest_words=4, seed=3))
