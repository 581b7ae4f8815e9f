"""Perplexities by units are of one sum; a report shows each system's, and none without a system."""

import math

import pytest

from tftransformer.errors import TransformerError
from tftransformer.evaluation import LanguageReport, by_units


def test_units_share_one_sum():
    found = by_units(-12.0, 6, ["zwei Wörter", "", "und drei"])
    for unit, count in (("token", 6), ("word", 4), ("byte", 12 + 8)):
        assert count * math.log(found[unit]) == pytest.approx(12)
    assert by_units(0.0, 0, []) == {"token": 1.0, "word": 1.0, "byte": 1.0}


def test_a_report_has_a_line_for_each_system():
    report = LanguageReport("test", 2, 1234, {"ours": by_units(-9, 3, ["a b"]), "theirs": by_units(-21, 3, ["a b"])})
    lines = str(report).splitlines()
    assert lines[0] == "Test: 2 texts, 1,234 tokens; perplexity of a"
    assert lines[2].split() == ["token", "word", "byte"]
    assert lines[3].split() == ["ours", "20.09", "90.02", "20.09"]
    assert lines[4].split() == ["theirs", "1,097", "36,316", "1,097"]
    assert report.to_dict()["systems"]["ours"]["token"] == pytest.approx(math.exp(3))
    with pytest.raises(TransformerError, match="systems must hold at least one"):
        LanguageReport("test", 0, 0, {})
