"""Tags: schemes and spans as conlleval reads them, the figures of entities, valid paths."""

import itertools

import numpy as np
import pytest

from tftransformer.errors import TransformerError
from tftransformer.evaluation import tagging

ENTITY_SCHEMES = [scheme for scheme in tagging.SCHEMES if scheme != "plain"]


def random_rows(rng, prefixes, rows=300, types="XY"):
    tags = ["O", *(f"{prefix}-{name}" for prefix in prefixes for name in types)]
    return [list(rng.choice(tags, size=rng.integers(1, 9))) for _ in range(rows)]


def conlleval(true_rows, predicted_rows):
    """Right, predicted and true chunks by type, and right tags, by the rules of the script, a word at a time."""
    ends = {"BB", "BO", "BS", "IB", "IO", "IS", "EE", "EI", "EO", "EB", "ES", "SE", "SI", "SO", "SS", "SB"}
    starts = {"BB", "IB", "OB", "EB", "SB", "OI", "EI", "SI", "EE", "OE", "SE", "BS", "IS", "OS", "ES", "SS"}
    right, guessed, correct, tags = {}, {}, {}, 0

    def parts(tag):
        return (tag[0], tag[2:])

    for true, predicted in zip(true_rows, predicted_rows, strict=True):
        inside = None
        last = (("O", ""), ("O", ""))
        for pair in [*zip(true, predicted, strict=True), ("O", "O")]:
            now = tuple(map(parts, pair))
            end, start = [], []
            for (p, p_type), (q, q_type) in zip(last, now, strict=True):
                end.append(p + q in ends or (p != "O" and p_type != q_type))
                start.append(p + q in starts or (q != "O" and p_type != q_type))
            if inside is not None:
                if all(end):
                    right[inside] = right.get(inside, 0) + 1
                    inside = None
                elif end[0] != end[1] or now[0][1] != now[1][1]:
                    inside = None
            if all(start) and now[0][1] == now[1][1]:
                inside = now[0][1]
            for which, counts in ((0, correct), (1, guessed)):
                if start[which]:
                    counts[now[which][1]] = counts.get(now[which][1], 0) + 1
            last = now
        tags += sum(a == b for a, b in zip(true, predicted, strict=True))
    return right, guessed, correct, tags


@pytest.mark.parametrize("prefixes", ["BI", "BIES", "I"])
def test_figures_equal_conlleval_also_where_tags_are_invalid(prefixes):
    rng = np.random.default_rng(len(prefixes))
    true = random_rows(rng, prefixes)
    predicted = [
        [t if rng.random() < 0.6 else p for t, p in zip(a, b + a, strict=False)]
        for a, b in zip(true, random_rows(rng, prefixes), strict=True)
    ]
    right, guessed, correct, tags = conlleval(true, predicted)
    m = tagging.entity_metrics(true, predicted, scheme="BIOES")
    for name in "XY":
        row = m["per_class"][name]
        assert (row["hits"], row["predicted"], row["support"]) == (right[name], guessed[name], correct[name])
    assert m["accuracy"] == pytest.approx(tags / m["tokens"])
    hits = sum(right.values())
    assert m["micro_f1"] == pytest.approx(2 * hits / (sum(guessed.values()) + sum(correct.values())))
    assert m["entities"]["hits"] == m["partial"]["exact"] == hits
    assert sum(m["partial"].values()) - m["partial"]["spurious"] == m["entities"]["support"]


def test_every_short_sequence_is_read_as_conlleval_counts_it():
    tags = ["O", *(f"{p}-{t}" for p in "BIES" for t in "XY")]
    for row in itertools.product(tags, repeat=4):
        spans = tagging.spans_of(row, "BIOES")
        _, guessed, _, _ = conlleval([row], [row])
        assert {t: sum(s[2] == t for s in spans) for t in guessed} == guessed
        assert sum(end - start for start, end, _ in spans) == sum(tag != "O" for tag in row)


@pytest.mark.parametrize("scheme", tagging.SCHEMES)
def test_spans_survive_being_written_as_tags(scheme):
    rng = np.random.default_rng(1)
    for _ in range(300):
        length = int(rng.integers(1, 10))
        borders = (
            range(length + 1) if scheme == "plain" else np.flatnonzero(np.r_[True, rng.random(length - 1) < 0.5, True])
        )
        spans = [(int(a), int(b), str(rng.choice(["X", "Y-Z"]))) for a, b in itertools.pairwise(borders)]
        if scheme != "plain":
            spans = [span for span in spans if rng.random() < 0.7]
        tags = tagging.tags_of(spans, length, scheme)
        assert tagging.spans_of(tags, scheme) == spans
        if scheme != "plain":
            for other in ENTITY_SCHEMES:
                assert tagging.convert_tags(tagging.convert_tags(tags, scheme, other), other, scheme) == tags


def test_schemes_are_found_out():
    spans = [(0, 2, "X"), (2, 3, "X"), (4, 7, "Y")]
    for scheme in ENTITY_SCHEMES:
        assert tagging.tag_scheme([tagging.tags_of(spans, 8, scheme)]) == scheme
    assert tagging.tag_scheme([["NOUN", "S", "E", "B-x"]]) == "plain"
    assert tagging.tag_scheme([["O", "B", "I"]]) == tagging.tag_scheme([["O"]]) == "IOB2"


def all_paths(tags, length, scheme):
    """The sequences that are written as their own spans are."""
    for row in itertools.product(tags, repeat=length):
        if tagging.tags_of(tagging.spans_of(row, scheme), length, scheme) == list(row):
            yield row


@pytest.mark.parametrize("scheme", ENTITY_SCHEMES)
def test_allowed_transitions_and_the_best_path_by_brute_force(scheme):
    prefixes = {"BILOU": "BILU", "BIOES": "BIES"}.get(scheme, "BI")
    tags = ["O", *(f"{p}-{t}" for p in prefixes for t in "XY")]
    transitions, start, end = tagging.allowed_transitions(tags, scheme)
    number = {tag: i for i, tag in enumerate(tags)}
    valid = [tuple(number[tag] for tag in row) for row in all_paths(tags, 3, scheme)]
    allowed = [
        row for row in itertools.product(range(len(tags)), repeat=3)
        if start[row[0]] and end[row[2]] and transitions[row[0], row[1]] and transitions[row[1], row[2]]
    ]  # fmt: skip
    assert set(valid) == set(allowed)
    rng = np.random.default_rng(0)
    for _ in range(20):
        scores = rng.normal(size=(3, len(tags)))
        best = max(valid, key=lambda row: sum(scores[i, tag] for i, tag in enumerate(row)))
        assert tuple(tagging.viterbi(scores, transitions, start, end)) == best


def test_a_path_of_probability_zero_is_valid_all_the_same():
    transitions, start, end = tagging.allowed_transitions(["O", "B-X", "I-X"], "IOB2")
    scores = np.full((2, 3), -np.inf)
    scores[:, 2] = 0
    assert tagging.viterbi(scores, transitions, start, end).tolist() == [1, 2]
    assert tagging.viterbi(np.zeros((0, 3)), transitions).tolist() == []


def test_plain_tags_and_partial_matches():
    m = tagging.entity_metrics([["N", "V"], ["N", "N"]], [["N", "N"], ["N", "N"]])
    assert m["scheme"] == "plain" and m["accuracy"] == m["micro_f1"] == 0.75 and "partial" not in m
    assert m["per_class"]["V"]["f1"] == 0 and m["macro_f1"] == pytest.approx((6 / 7) / 2)
    true = ["B-X", "I-X", "O", "B-X", "O", "B-Y", "I-Y", "O", "B-Y", "O"]
    predicted = ["B-Y", "I-Y", "O", "O", "O", "B-Y", "O", "O", "B-Y", "B-X"]
    assert tagging.entity_metrics([true], [predicted])["partial"] == {
        "exact": 1, "other_type": 1, "other_boundaries": 1, "both_wrong": 0, "missed": 1, "spurious": 1,
    }  # fmt: skip
    nothing = tagging.entity_metrics([["O", "O"]], [["O", "O"]])
    assert nothing["accuracy"] == 1 and nothing["micro_f1"] == 0 and nothing["per_class"] == {}


def test_intervals_hold_the_figures_and_depend_on_the_seed_alone():
    rng = np.random.default_rng(0)
    true, predicted = random_rows(rng, "BI", 200), []
    for row in true:
        predicted.append([tag if rng.random() < 0.9 else "O" for tag in row])
    m = tagging.entity_metrics(true, predicted)
    assert m == tagging.entity_metrics(true, predicted)
    interval = m["confidence_interval"]
    low, high = interval["micro_f1"]
    assert low < m["micro_f1"] < high and 0.02 < high - low < 0.15
    assert interval["accuracy"][0] < m["accuracy"] < interval["accuracy"][1]
    assert interval["micro_recall"][0] < m["micro"]["recall"] < interval["micro_recall"][1]


IOB2 = ["O", "B-X", "I-X"]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: tagging.spans_of(["X"], "IOB2"), "tags must be O or one of B-TYPE, I-TYPE in the scheme IOB2; got 'X'"),
        (lambda: tagging.spans_of(["O"], "IOB3"), "scheme must be one of"),
        (lambda: tagging.tag_scheme([["B-X", "O", "X"]]), "tags must all have a prefix"),
        (lambda: tagging.tag_scheme([["E-X", "L-X"]]), "tags must be of one scheme"),
        (lambda: tagging.tags_of([(0, 3, "X")], 2, "IOB2"), "spans must hold words 0 to 2"),
        (lambda: tagging.tags_of([(0, 2, "X"), (1, 3, "Y")], 3, "IOB2"), "spans must not overlap"),
        (lambda: tagging.tags_of([(0, 1, "X")], 2, "plain"), "spans must be one for each of the 2 words"),
        (lambda: tagging.tags_of([], -1, "IOB2"), "length must be"),
        (lambda: tagging.convert_tags(["O"], "IOB2", "plain"), "target must be 'plain'"),
        (lambda: tagging.allowed_transitions(["O", "O"], "IOB2"), "tags must be different; got 'O' twice"),
        (lambda: tagging.viterbi(np.full((2, 3), np.nan), np.ones((3, 3), bool)), "log_probabilities must be"),
        (lambda: tagging.viterbi(np.zeros((2, 3)), np.ones((2, 3), bool)), "transitions must be of shape"),
        (lambda: tagging.viterbi(np.zeros((2, 3)), np.zeros((3, 3), bool)), "transitions must allow a path of 2 tags"),
        (lambda: tagging.entity_metrics([], []), "and at least one; got 0 for 0"),
        (lambda: tagging.entity_metrics([[]], [[]]), "true_tag_rows must hold at least one tag"),
        (lambda: tagging.entity_metrics([IOB2], [IOB2[:2]]), "row 0 has 2 for 3"),
        (lambda: tagging.entity_metrics([[1]], [[2]]), "tags must be strings; row 0"),
        (lambda: tagging.entity_metrics([IOB2], [["O", "N", "O"]]), "predicted_tag_rows must hold O or tags such as B-TYPE"),
    ],
)  # fmt: skip
def test_mistakes_are_told(call, message):
    with pytest.raises(TransformerError, match=message.replace("(", r"\(")):
        call()
