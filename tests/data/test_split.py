import pytest

from tftransformer.data.dedup import dedup_key, normalize_for_dedup, well_formed
from tftransformer.data.labels import sort_labels
from tftransformer.data.split import Split, Splits, require_labelled
from tftransformer.errors import TransformerError

hypothesis = pytest.importorskip("hypothesis")
given, strategies = hypothesis.given, hypothesis.strategies


def test_labels_sort_by_value_only_when_all_are_integers():
    assert sort_labels(["10", "2", "2", "-1"]) == ("-1", "2", "10")
    assert sort_labels(["10", "2", "x"]) == ("10", "2", "x")
    assert Split(list("abc"), [("b",), (), ("a", "b")], multi_label=True).labels == ("a", "b")
    assert Split(["a"]).labels == ()


def test_lengths_must_agree():
    with pytest.raises(TransformerError, match="^targets must be as many as texts, 2; got 1$"):
        Split(["a", "b"], ["x"])
    with pytest.raises(TransformerError, match="^rows must be as many as texts, 1; got 2$"):
        Split(["a"], ["x"], rows=[1, 2])


def test_what_is_measured_needs_targets():
    split = Split(["a"], ["x"])
    assert require_labelled(split) is split
    with pytest.raises(TransformerError, match="Split with targets.*got one without targets$"):
        require_labelled(Split(["a"]))
    with pytest.raises(TransformerError, match="got NoneType$"):
        require_labelled(None)


def test_take_keeps_rows_together():
    split = Split(["a", "b", "c"], ["x", "y", "z"], rows=[2, 3, 5], source="f.csv")
    part = split.take([2, 0])
    assert (part.texts, part.targets, part.rows) == (["c", "a"], ["z", "x"], [5, 2])
    assert part.where(0) == "f.csv:5" and Split(["a"]).where(0) == "train row 0"
    assert "2 texts, 2 labels" in repr(part)


def test_pairs_and_present():
    pairs = Split([("a", "b")], ["x"])
    assert pairs.is_pair and not Split(["ab"], ["x"]).is_pair
    assert list(Splits(pairs, None, pairs).present()) == ["train", "test"]


@pytest.mark.parametrize(
    "left, right",
    [("Straße", "STRASSE"), ("ﬁne", "FINE"), ("e\u0301te\u0301", "ÉTÉ"), ("a\u00a0 b\n", " A\tb"), ("Ⅳ", "iv")],
)
def test_folding_joins_what_looks_the_same(left, right):
    assert normalize_for_dedup(left) == normalize_for_dedup(right)


def test_folding_keeps_apart_what_differs():
    assert len({normalize_for_dedup(t) for t in ["no", "no.", "n o", "nö", ""]}) == 5
    assert dedup_key(("A b", "c")) != dedup_key(("A", "b c"))


@given(strategies.text())
def test_folding_ignores_case_and_space_and_is_settled(text):
    assert normalize_for_dedup(normalize_for_dedup(text)) == normalize_for_dedup(text)
    assert normalize_for_dedup(f" {text}\n") == normalize_for_dedup(text)


@given(strategies.text(strategies.characters(min_codepoint=0xD000, max_codepoint=0xE100)))
def test_well_formed_text_is_utf8(text):
    well_formed(text).encode()


def test_well_formed_leaves_text_alone():
    assert well_formed("aé😀") == "aé😀" and well_formed("a\ud800b") == "a\ufffdb"
