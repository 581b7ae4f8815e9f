"""The table of code points: its arithmetic part, and that it is what the generator writes."""

import unicodedata
from pathlib import Path

import numpy as np
import pytest

from tftransformer.text import code_points as cp


def test_hangul_is_decomposed_by_arithmetic():
    rules = cp.read_rules()["strip"]
    for c in (0xAC00, 0xAC01, 0xAC1C, 0xD55C, 0xD7A3):
        assert "".join(map(chr, rules[c])) == unicodedata.normalize("NFD", chr(c))


def test_tables_are_small_and_in_bounds():
    tables = cp.build_tables(True, True, True)
    assert sum(table.nbytes for table in tables) < 450_000
    assert all(table.dtype == np.int32 for table in tables)
    special = tables.entries[tables.entries >= cp.SPECIAL] - cp.SPECIAL
    assert special.max() < len(tables.lengths)
    assert (tables.first + tables.lengths).max() <= len(tables.pool)
    assert (tables.pages.max() + 1) * cp.PAGE_SIZE == len(tables.entries)


def test_nothing_changes_without_lower_case_and_accents():
    tables = cp.build_tables(False, False, False)
    for c in (ord("É"), 0x301, ord("中"), 0xAC00):
        assert tables.entries[tables.pages[c // cp.PAGE_SIZE] * cp.PAGE_SIZE + c % cp.PAGE_SIZE] == 0


@pytest.mark.live
def test_the_committed_rules_are_what_the_generator_writes(tmp_path, monkeypatch):
    pytest.importorskip("tokenizers")
    import generate_code_points

    monkeypatch.setattr(generate_code_points, "TARGET", Path(tmp_path / "rules.txt"))
    generate_code_points.main()
    written = (tmp_path / "rules.txt").read_text().splitlines()
    committed = cp.RULES.read_text().splitlines()
    assert written[1:] == committed[1:]  # the first line names the library's version
