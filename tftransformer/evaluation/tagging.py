"""Tags of words: schemes and their spans, metrics of entities and of plain tags, and the best valid path of tags.

Spans are read as the script conlleval of the CoNLL shared tasks reads them, invalid sequences among them: Tjong Kim Sang and
De Meulder, "Introduction to the CoNLL-2003 shared task", 2003. Schemes: Tjong Kim Sang and Veenstra, "Representing text
chunks", 1999. The path: Viterbi, 1967.
"""

import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from tftransformer.errors import TransformerError, check_choice, check_whole
from tftransformer.evaluation import intervals

Span = tuple[int, int, str]

# The prefixes of a scheme that stand for B, I, E and S; "plain" tags have none: every word has a tag of its own.
_PREFIXES = {"IOB1": "BI", "IOB2": "BI", "BIOES": "BIES", "BILOU": "BILU", "plain": ""}
SCHEMES = tuple(_PREFIXES)
_READ_AS = {"L": "E", "U": "S"}
_WRITTEN_AS = {read: written for written, read in _READ_AS.items()}
_TAG = re.compile(r"([BIESLU])(?:-(.*))?", re.DOTALL)
# The logarithm that stands for that of 0, so that a valid path of probability 0 still beats an invalid one.
_LOG_ZERO = -1e6
_KINDS = ("exact", "other_type", "other_boundaries", "both_wrong", "missed")


def tag_scheme(rows: Sequence[Sequence[str]]) -> str:
    """Return the scheme of the tags of a data set: "IOB1", "IOB2", "BIOES", "BILOU", or "plain" for tags without prefixes.

    A tag of entities is "O", or a prefix and a type such as "B-PLACE"; prefixes alone count where "O" occurs. Invalid
    sequences are counted towards the scheme that they break the least; where nothing decides, it is IOB2.

    Args:
        rows: Tags of each sentence.

    Raises:
        TransformerError: Some tags have prefixes and some have none beside an "O", or prefixes of two schemes are mixed.

    Example:
        >>> tag_scheme([["B-PLACE", "I-PLACE", "O"]]), tag_scheme([["I-PLACE", "O"]]), tag_scheme([["NOUN", "VERB"]])
        ('IOB2', 'IOB1', 'plain')
    """
    kinds = sorted({tag for row in rows for tag in row})
    outside = "O" in kinds
    prefixed = [tag for tag in kinds if (found := _TAG.fullmatch(tag)) and (outside or found[2] is not None)]
    bare = [tag for tag in kinds if tag not in prefixed and tag != "O"]
    if bare and outside and prefixed:
        raise TransformerError(
            f"tags must all have a prefix such as B- or be 'O', or none may have one; got {prefixed[0]!r} and {bare[0]!r}"
        )
    if bare:
        return "plain"
    prefixes = {tag[0] for tag in prefixed}
    if prefixes & set("ES") and prefixes & set("LU"):
        raise TransformerError(
            f"tags must be of one scheme, BIOES or BILOU; got the prefixes {', '.join(sorted(prefixes))}"
        )
    if prefixes & set("LU"):
        return "BILOU"
    return "BIOES" if prefixes & set("ES") else _iob_scheme(rows)


def _iob_scheme(rows):
    """IOB1 where more entities start with I- than IOB2 allows, and fewer with B- than IOB1 forbids."""
    against = {"IOB2": 0, "IOB1": 0}
    for row in rows:
        for start, _, name in _chunks(row):
            follows = start > 0 and row[start - 1] != "O" and parted(row[start - 1])[1] == name
            if row[start][0] == "I":
                against["IOB2"] += 1
            elif not follows:
                against["IOB1"] += 1
    return "IOB1" if against["IOB1"] < against["IOB2"] else "IOB2"


def spans_of(tags: Sequence[str], scheme: str) -> list[Span]:
    """Return the spans of one sentence in order, as conlleval reads them.

    A span starts at B or S, after O, E or S, and where the type changes; it goes on as long as none of this happens. So
    "I-X" after "O" or after another type starts a span, and a span without its E ends where the next one starts.
    (The original conlleval knows no S and lets B go on after E; here both start a span, as in its later versions.)

    Args:
        tags: Tags of the sentence.
        scheme: One of `SCHEMES`. Of "plain" tags, each is a span of one word.

    Returns:
        (start, end, type) for each, where words start to end - 1 are in it.

    Raises:
        TransformerError: The scheme is unknown, or a tag is not of it.

    Example:
        >>> spans_of(["B-PLACE", "I-PLACE", "O", "I-DATE", "I-PERSON"], "IOB2")
        [(0, 2, 'PLACE'), (3, 4, 'DATE'), (4, 5, 'PERSON')]
    """
    check_choice("scheme", scheme, SCHEMES)
    if scheme == "plain":
        return [(i, i + 1, tag) for i, tag in enumerate(tags)]
    for tag in tags:
        _check_tag(tag, scheme)
    return _chunks(tags)


def _check_tag(tag, scheme):
    if tag != "O" and (_TAG.fullmatch(tag) is None or tag[0] not in _PREFIXES[scheme]):
        known = ", ".join(f"{prefix}-TYPE" for prefix in _PREFIXES[scheme])
        raise TransformerError(f"tags must be O or one of {known} in the scheme {scheme}; got {tag!r:.40}")


def parted(tag: str) -> tuple[str, str]:
    """Return the prefix of a tag, as one of B, I, E, S and O, and its type.

    Example:
        >>> parted("L-PLACE"), parted("O")
        (('E', 'PLACE'), ('O', ''))
    """
    prefix, _, name = tag.partition("-")
    return _READ_AS.get(prefix, prefix), name


def _chunks(tags):
    spans: list[Span] = []
    start, last, last_name = 0, "O", ""
    for i, tag in enumerate([*tags, "O"]):
        prefix, name = parted(tag)
        starts = prefix != "O" and (prefix in "BS" or last in "OES" or name != last_name)
        if last != "O" and (starts or prefix == "O"):
            spans.append((start, i, last_name))
        if starts:
            start = i
        last, last_name = prefix, name
    return spans


def tags_of(spans: Sequence[Span], length: int, scheme: str) -> list[str]:
    """Return the tags of one sentence, so that `spans_of` gives the spans back.

    Args:
        spans: (start, end, type) in any order; none may overlap another.
        length: Number of words of the sentence.
        scheme: One of `SCHEMES`; "plain" needs a span for each word.

    Raises:
        TransformerError: The scheme is unknown, a span is empty or outside the sentence, two overlap, or a word of a plain
            sentence has no span of its own.

    Example:
        >>> tags_of([(0, 2, "PLACE"), (2, 3, "PLACE")], 4, "IOB1")
        ['I-PLACE', 'I-PLACE', 'B-PLACE', 'O']
        >>> tags_of([(0, 2, "PLACE"), (2, 3, "PLACE")], 4, "BIOES")
        ['B-PLACE', 'E-PLACE', 'S-PLACE', 'O']
    """
    check_choice("scheme", scheme, SCHEMES)
    check_whole("length", length, 0)
    tags = ["O"] * length
    before = (0, 0, "")
    for span in sorted(spans):
        start, end, name = span
        if not 0 <= start < end <= length:
            raise TransformerError(f"spans must hold words 0 to {length}, the end of the sentence; got {span}")
        if start < before[1]:
            raise TransformerError(f"spans must not overlap; got {before} and {span}")
        if scheme == "plain":
            tags[start] = name
        else:
            follows = before[1] == start > 0 and before[2] == name
            prefixes = _prefixes(end - start, follows, scheme)
            tags[start:end] = [f"{prefix}-{name}" if name else prefix for prefix in prefixes]
        before = span
    if scheme == "plain" and (len(spans) != length or any(end - start != 1 for start, end, _ in spans)):
        raise TransformerError(f"spans must be one for each of the {length} words, as tags are plain; got {len(spans)}")
    return tags


def _prefixes(width, follows, scheme):
    """The prefixes of one span, which may follow another of its type."""
    if scheme == "IOB1":
        return ["B" if follows else "I", *["I"] * (width - 1)]
    if scheme == "IOB2":
        return ["B", *["I"] * (width - 1)]
    read = ["S"] if width == 1 else ["B", *["I"] * (width - 2), "E"]
    return read if scheme == "BIOES" else [_WRITTEN_AS.get(prefix, prefix) for prefix in read]


def convert_tags(tags: Sequence[str], scheme: str, target: str) -> list[str]:
    """Return the tags of one sentence in another scheme; what is invalid becomes valid, with the spans of `spans_of`.

    Args:
        tags: Tags of the sentence.
        scheme: Scheme that they are of.
        target: Scheme to write. "plain" goes with "plain" alone.

    Raises:
        TransformerError: A scheme is unknown, a tag is not of its scheme, or just one of the two is "plain".

    Example:
        >>> convert_tags(["I-PLACE", "I-PLACE", "O", "I-DATE"], "IOB1", "BIOES")
        ['B-PLACE', 'E-PLACE', 'O', 'S-DATE']
    """
    if (scheme == "plain") != (target == "plain"):
        raise TransformerError(
            f"target must be 'plain' where the scheme is, and only there; got {scheme!r} and {target!r}"
        )
    return tags_of(spans_of(tags, scheme), len(tags), target)


def allowed_transitions(tags: Sequence[str], scheme: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return which tag may follow which, and which may begin and end a sentence.

    Args:
        tags: T different tags.
        scheme: One of `SCHEMES`; of "plain" tags, all is allowed.

    Returns:
        transitions (T, T), True where the tag of the column may follow that of the row; start (T,); end (T,).

    Raises:
        TransformerError: The scheme is unknown, a tag is not of it, or one is there twice.

    Example:
        >>> transitions, start, end = allowed_transitions(["O", "B-DATE", "I-DATE"], "IOB2")
        >>> transitions.astype(int).tolist(), start.tolist(), end.tolist()
        ([[1, 1, 0], [1, 1, 1], [1, 1, 1]], [True, True, False], [True, True, True])
    """
    check_choice("scheme", scheme, SCHEMES)
    if len(set(tags)) < len(tags):
        twice = next(tag for i, tag in enumerate(tags) if tag in tags[:i])
        raise TransformerError(f"tags must be different; got {twice!r} twice")
    if scheme == "plain":
        everything = np.ones(len(tags), bool)
        return np.ones((len(tags), len(tags)), bool), everything, everything.copy()
    for tag in tags:
        _check_tag(tag, scheme)
    transitions = np.array([[_may_follow(a, b, scheme) for b in tags] for a in tags], bool).reshape(
        len(tags), len(tags)
    )
    start = np.array([_may_follow("O", tag, scheme) for tag in tags], bool)
    end = np.array([_may_follow(tag, "O", scheme) for tag in tags], bool)
    return transitions, start, end


def _may_follow(before, tag, scheme):
    """Return whether a tag may follow another; the ends of a sentence count as "O"."""
    (last, last_name), (prefix, name) = parted(before), parted(tag)
    inside = last != "O" and last_name == name
    if scheme == "IOB1":
        return prefix != "B" or inside
    if scheme == "IOB2":
        return prefix != "I" or inside
    is_open, goes_on = last in ("B", "I"), prefix in ("I", "E")
    return is_open == goes_on and (not is_open or inside)


def viterbi(
    log_probabilities: np.ndarray,
    transitions: np.ndarray,
    start: np.ndarray | None = None,
    end: np.ndarray | None = None,
) -> np.ndarray:
    """Return the most probable path of tags among those allowed.

    Args:
        log_probabilities: (n, T) logarithm of the probability of each tag at each word; that of 0 may be minus infinity.
        transitions: (T, T), which tag (column) may follow which (row), or scores to add, as a CRF has them.
        start, end: (T,) which tags may begin and end the path, or scores; None: all.

    Returns:
        (n,) positions of the tags; of equally probable paths, the one whose last tag is first, and so on backwards.

    Raises:
        TransformerError: Shapes that do not fit, NaN, or no path is allowed.

    Example:
        >>> transitions, start, end = allowed_transitions(["O", "B-DATE", "I-DATE"], "IOB2")
        >>> viterbi(np.log([[0.5, 0.1, 0.4], [0.2, 0.3, 0.5]]), transitions, start, end).tolist()
        [0, 1]
    """
    scores = np.asarray(log_probabilities, np.float64)
    if scores.ndim != 2 or scores.shape[1] == 0 or np.isnan(scores).any():
        raise TransformerError(f"log_probabilities must be (n, T) and without NaN; got shape {scores.shape}")
    size = scores.shape[1]
    steps = _scores("transitions", transitions, (size, size))
    first = np.zeros(size) if start is None else _scores("start", start, (size,))
    last = np.zeros(size) if end is None else _scores("end", end, (size,))
    if len(scores) == 0:
        return np.zeros(0, np.int64)
    scores = np.maximum(scores, _LOG_ZERO)
    best, came_from = first + scores[0], np.zeros(scores.shape, np.int64)
    for i in range(1, len(scores)):
        reached = best[:, None] + steps
        came_from[i] = reached.argmax(0)
        best = reached.max(0) + scores[i]
    best = best + last
    if not best.max() > -np.inf:
        raise TransformerError(f"transitions must allow a path of {len(scores)} tags; they allow none")
    path = np.zeros(len(scores), np.int64)
    path[-1] = best.argmax()
    for i in range(len(scores) - 1, 0, -1):
        path[i - 1] = came_from[i, path[i]]
    return path


def _scores(name, values, shape):
    values = np.asarray(values)
    if values.shape != shape:
        raise TransformerError(f"{name} must be of shape {shape}, a value a tag; got {values.shape}")
    return np.where(values, 0.0, -np.inf) if values.dtype == bool else values.astype(np.float64)


def entity_metrics(
    true_tag_rows: Sequence[Sequence[str]],
    predicted_tag_rows: Sequence[Sequence[str]],
    *,
    scheme: str | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """Compute the figures of predicted tags: of entities, equal to conlleval's, or of plain tags.

    An entity is right where its first word, its last word and its type are. Macro figures are means over the types that
    stand in the targets or in the predictions.

    Args:
        true_tag_rows: Tags of B sentences.
        predicted_tag_rows: As many for each; prefixes of any scheme are read.
        scheme: One of `SCHEMES`; None finds it out from the true tags.
        seed: Random seed of the bootstrap.

    Returns:
        `examples` (B), `tokens`, `scheme`, `accuracy` (fraction of the tags that are equal, so it means
        little across schemes), `macro_f1`, `micro_f1`,
        `confidence_interval` {level, accuracy, macro_f1, micro_f1, micro_precision, micro_recall} (percentile bootstrap
        over sentences), `micro`/`macro` {precision, recall, f1}, `per_class` by type or plain tag {precision, recall, f1,
        support, predicted, hits}. Of entities, also `entities` {support, predicted, hits} and `partial`: of the true
        entities those that are `exact`, have the boundaries of a predicted one of `other_type`, overlap one of their type
        (`other_boundaries`), overlap others alone (`both_wrong`) or are `missed`; `spurious` predicted ones overlap none.

    Raises:
        TransformerError: No sentence or no word, rows that differ in number or length, or tags that are of no scheme.

    Example:
        >>> m = entity_metrics([["B-DATE", "I-DATE", "O", "B-PLACE"]], [["B-DATE", "O", "O", "B-PLACE"]])
        >>> m["micro_f1"], m["accuracy"], m["partial"]["other_boundaries"]
        (0.5, 0.75, 1)
    """
    _check_rows(true_tag_rows, predicted_tag_rows)
    if scheme is None:
        known = any(tag != "O" for row in true_tag_rows for tag in row)
        scheme = tag_scheme(true_tag_rows if known else [*true_tag_rows, *predicted_tag_rows])
    check_choice("scheme", scheme, SCHEMES)
    pairs = list(zip(true_tag_rows, predicted_tag_rows, strict=True))
    actual = [spans_of(row, scheme) for row, _ in pairs]
    predicted = [_spans_of_any(row, scheme) for _, row in pairs]
    names = sorted({span[2] for row in (*actual, *predicted) for span in row})
    counts = _counts(actual, predicted, names)
    tokens = np.array([[sum(map(str.__eq__, *pair)), len(pair[0])] for pair in pairs], np.int64)
    hits, found, support = counts.sum(0)
    per_class = {
        name: {**_rates(*column), "support": int(column[2]), "predicted": int(column[1]), "hits": int(column[0])}
        for name, column in zip(names, counts.sum(0).T, strict=True)
    }
    micro = _rates(hits.sum(), found.sum(), support.sum())
    macro = {
        key: float(np.mean([row[key] for row in per_class.values()])) if names else 0.0
        for key in ("precision", "recall", "f1")
    }
    result = {
        "examples": len(pairs),
        "tokens": int(tokens[:, 1].sum()),
        "scheme": scheme,
        "accuracy": float(tokens[:, 0].sum() / tokens[:, 1].sum()),
        "macro_f1": macro["f1"],
        "micro_f1": micro["f1"],
        "confidence_interval": {"level": intervals.LEVEL, **_bootstrap(counts, tokens, seed)},
        "micro": micro,
        "macro": macro,
        "per_class": per_class,
    }
    if scheme != "plain":
        result["entities"] = {"support": int(support.sum()), "predicted": int(found.sum()), "hits": int(hits.sum())}
        result["partial"] = _partial(actual, predicted)
    return result


def _check_rows(actual, predicted):
    if len(actual) != len(predicted) or len(actual) == 0:
        raise TransformerError(
            f"predicted_tag_rows must be as many as true_tag_rows, and at least one; got {len(predicted)} for {len(actual)}"
        )
    for i, (row, other) in enumerate(zip(actual, predicted, strict=True)):
        if isinstance(row, str) or isinstance(other, str) or len(row) != len(other):
            raise TransformerError(
                f"predicted_tag_rows must have a tag for each true one; row {i} has {len(other)} for {len(row)}"
            )
        if not all(isinstance(tag, str) for tag in (*row, *other)):
            raise TransformerError(f"tags must be strings; row {i} is {list(row)!r:.40}, predicted {list(other)!r:.40}")
    if not any(len(row) for row in actual):
        raise TransformerError(f"true_tag_rows must hold at least one tag; got {len(actual)} empty rows")


def _spans_of_any(tags, scheme):
    """The spans of predicted tags, which may be of another scheme than the true ones."""
    if scheme == "plain":
        return spans_of(tags, scheme)
    for tag in tags:
        if tag != "O" and not _TAG.fullmatch(tag):
            raise TransformerError(f"predicted_tag_rows must hold O or tags such as B-TYPE; got {tag!r:.40}")
    return _chunks(tags)


def _counts(actual, predicted, names):
    """(B, 3, C): of each sentence and type, how many spans are right, predicted and true."""
    column = {name: i for i, name in enumerate(names)}
    counts = np.zeros((len(actual), 3, len(names)), np.int64)
    for i, (true, found) in enumerate(zip(actual, predicted, strict=True)):
        for place, spans in enumerate((set(true) & set(found), found, true)):
            for span in spans:
                counts[i, place, column[span[2]]] += 1
    return counts


def _rates(hits, predicted, support):
    """Precision, recall and F1, 0 where there is nothing to count."""
    parts = (("precision", hits, predicted), ("recall", hits, support), ("f1", 2 * hits, predicted + support))
    return {name: float(part / whole) if whole else 0.0 for name, part, whole in parts}


def _bootstrap(counts, tokens, seed):
    """Percentile intervals over sentences, those that count alike drawn together, as `intervals.bootstrap_f1` does."""
    classes = counts.shape[2]
    rows = np.concatenate([counts.reshape(len(counts), -1), tokens], axis=1)
    kinds, numbers = np.unique(rows, axis=0, return_counts=True)
    resamples = 2000 if len(kinds) <= 5000 else 1000
    generator = np.random.default_rng(seed)
    step = max(1, 8_000_000 // len(kinds))
    parts = []
    for first in range(0, resamples, step):
        size = min(step, resamples - first)
        parts.append(generator.multinomial(len(rows), numbers / len(rows), size=size).astype(np.float64) @ kinds)
    sums = np.concatenate(parts)
    hits, found, support = (sums[:, i * classes : (i + 1) * classes] for i in range(3))
    macro, micro = intervals.f1_scores(hits, found, support) if classes else (np.zeros(resamples),) * 2
    drawn = {
        "accuracy": _quotients(sums[:, -2], sums[:, -1]),
        "macro_f1": macro,
        "micro_f1": micro,
        "micro_precision": _quotients(hits.sum(1), found.sum(1)),
        "micro_recall": _quotients(hits.sum(1), support.sum(1)),
    }
    ends = [(1 - intervals.LEVEL) / 2, (1 + intervals.LEVEL) / 2]
    return {name: [float(v) for v in np.quantile(values, ends)] for name, values in drawn.items()}


def _quotients(part, whole):
    return np.divide(part, whole, out=np.zeros(whole.shape), where=whole > 0)


def _partial(actual, predicted):
    """Count the true entities by how right they are predicted, and the spurious predictions."""
    result = dict.fromkeys((*_KINDS, "spurious"), 0)
    for true, found in zip(actual, predicted, strict=True):
        for span in true:
            result[_kind(span, found)] += 1
        result["spurious"] += sum(not any(_overlap(span, other) for other in true) for span in found)
    return result


def _kind(span, found):
    near = [other for other in found if _overlap(span, other)]
    if span in near:
        return "exact"
    if any(other[:2] == span[:2] for other in near):
        return "other_type"
    if any(other[2] == span[2] for other in near):
        return "other_boundaries"
    return "both_wrong" if near else "missed"


def _overlap(one, other):
    return one[0] < other[1] and other[0] < one[1]
