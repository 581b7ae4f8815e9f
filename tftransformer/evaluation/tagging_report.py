"""The report on predicted tags, and what a tagger has to beat: the most frequent tag of each word, and a linear CRF.

Lafferty, McCallum and Pereira, "Conditional random fields", 2001; the features are the usual ones of Tjong Kim Sang and
De Meulder, 2003.
"""

import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tftransformer.data.tagged import TaggedSplit
from tftransformer.errors import TransformerError, check_whole
from tftransformer.evaluation.reports import counted, text_table, three_rates, with_interval
from tftransformer.evaluation.tagging import convert_tags, entity_metrics, tag_scheme

_PARTIAL = {
    "exact": "right",
    "other_type": "right boundaries, other type",
    "other_boundaries": "right type, other boundaries",
    "both_wrong": "overlap, other type and boundaries",
    "missed": "missed",
    "spurious": "predicted where there is none",
}


class TaggingReport:
    """The figures of predicted tags on one set of sentences; `str(report)` is the text of it.

    Args:
        metrics: Result of `entity_metrics`.
        baselines: Results of it for the same sentences, each with its `name`.
        title: The first line: what was evaluated.

    Attributes:
        metrics, baselines: The arguments.

    Raises:
        TransformerError: A baseline has no name, or has other words than the metrics.

    Example:
        >>> from tftransformer.evaluation.tagging import entity_metrics
        >>> print(TaggingReport(entity_metrics([["B-DATE", "O"]], [["B-DATE", "O"]])))
        Test: 1 sentence, 2 words, 1 entity of 1 type
        ...
    """

    def __init__(
        self, metrics: Mapping[str, Any], baselines: Sequence[Mapping[str, Any]] = (), *, title: str = "Test"
    ) -> None:
        self.metrics = dict(metrics)
        self.baselines = [dict(baseline) for baseline in baselines]
        self._title = title
        for i, baseline in enumerate(self.baselines):
            if "name" not in baseline:
                raise TransformerError(f"baselines must each have a name; baseline {i} has {', '.join(baseline)}")
            if baseline["tokens"] != metrics["tokens"]:
                raise TransformerError(
                    f"baselines must be of the same {metrics['tokens']} words; {baseline['name']} has {baseline['tokens']}"
                )

    def to_dict(self) -> dict[str, Any]:
        """The "test" section of metrics.json: the metrics, and those of the baselines under `baselines`."""
        return {**self.metrics, "baselines": self.baselines}

    def __getitem__(self, key: str) -> Any:
        return self.metrics[key]

    def __repr__(self) -> str:
        key = "accuracy" if self._plain else "micro_f1"
        return f"TaggingReport({key}={self.metrics[key]:.4f}, macro_f1={self.metrics['macro_f1']:.4f})"

    def __str__(self) -> str:
        parts = [self._first_line(), self._per_class(), self._summary(), self._partial(), self._against_baselines()]
        return "\n\n".join(part for part in parts if part)

    @property
    def _plain(self) -> bool:
        return self.metrics["scheme"] == "plain"

    def _first_line(self) -> str:
        m = self.metrics
        kinds = len(m["per_class"])
        of_what = (
            counted(kinds, "tag")
            if self._plain
            else f"{counted(m['entities']['support'], 'entity', 'entities')} of {counted(kinds, 'type')}"
        )
        return f"{self._title}: {counted(m['examples'], 'sentence')}, {counted(m['tokens'], 'word')}, {of_what}"

    def _per_class(self) -> str:
        rows = [["", "precision", "recall", "F1", "true", "predicted", "right"]]
        for name, row in self.metrics["per_class"].items():
            counts = [f"{row[key]:,}" for key in ("support", "predicted", "hits")]
            rows.append([name or "(no type)", *three_rates(row), *counts])
        sums = [
            f"{sum(row[key] for row in self.metrics['per_class'].values()):,}"
            for key in ("support", "predicted", "hits")
        ]
        rows += [[], ["micro average", *three_rates(self.metrics["micro"]), *sums]]
        rows.append(["macro average", *three_rates(self.metrics["macro"]), "", "", ""])
        return text_table(rows)

    def _summary(self) -> str:
        m, interval = self.metrics, self.metrics["confidence_interval"]
        named = {"accuracy": "accuracy of tags", "macro_f1": "macro F1"}
        if not self._plain:
            named = {
                "micro_f1": "entity F1",
                "micro_precision": "entity precision",
                "micro_recall": "entity recall",
                **named,
            }
        values = {**m, "micro_precision": m["micro"]["precision"], "micro_recall": m["micro"]["recall"]}
        rows = [[name, with_interval(values[key], interval[key])] for key, name in named.items()]
        note = f"In brackets: {100 * interval['level']:.0f} % confidence intervals, by bootstrap over sentences."
        return f"{text_table(rows, left=(0, 1))}\n{note}"

    def _partial(self) -> str:
        if self._plain:
            return ""
        rows = [[name, f"{self.metrics['partial'][key]:,}"] for key, name in _PARTIAL.items()]
        return "Entities\n" + text_table(rows)

    def _against_baselines(self) -> str:
        if not self.baselines:
            return ""
        shown = (
            {"accuracy": "accuracy", "macro_f1": "macro F1"}
            if self._plain
            else {"micro_f1": "entity F1", "accuracy": "accuracy"}
        )
        first = next(iter(shown))
        rows = [["", *shown.values(), "this model's lead"]]
        for figures in ({"name": "this model", **self.metrics}, *self.baselines):
            interval = figures["confidence_interval"]
            lead = "" if figures["name"] == "this model" else f"{self.metrics[first] - figures[first]:+.4f}"
            rows.append([figures["name"], *(with_interval(figures[key], interval[key]) for key in shown), lead])
        return text_table(rows)


def most_frequent_tag_baseline(
    train_words: Sequence[Sequence[str]], train_tags: Sequence[Sequence[str]], test_words: Sequence[Sequence[str]]
) -> list[list[str]]:
    """Predict for each word the tag that it has most often in training, and for an unseen one the most frequent of all.

    Args:
        train_words: Words of the training sentences.
        train_tags: Tags of each.
        test_words: Words of the sentences to predict.

    Returns:
        Tags of each test sentence; of equally frequent ones, the first in the alphabet.

    Raises:
        TransformerError: No training word, or words and tags that differ in number.

    Example:
        >>> most_frequent_tag_baseline([["to", "Jordan"]], [["O", "B-PLACE"]], [["Jordan", "to", "me"]])
        [['B-PLACE', 'O', 'B-PLACE']]
    """
    _check_training(train_words, train_tags)
    overall: Counter = Counter()
    of_word: dict[str, Counter] = {}
    for words, tags in zip(train_words, train_tags, strict=True):
        overall.update(tags)
        for word, tag in zip(words, tags, strict=True):
            of_word.setdefault(word, Counter())[tag] += 1

    def most_frequent(counts):
        return min(counts, key=lambda tag: (-counts[tag], tag))

    unseen = most_frequent(overall)
    known = {word: most_frequent(counts) for word, counts in of_word.items()}
    return [[known.get(word, unseen) for word in words] for words in test_words]


def crf_baseline(
    train_words: Sequence[Sequence[str]],
    train_tags: Sequence[Sequence[str]],
    test_words: Sequence[Sequence[str]],
    *,
    iterations: int = 100,
) -> list[list[str]] | None:
    """Train a linear CRF on the form of words and of their neighbours, and predict; needs python-crfsuite.

    Args:
        train_words, train_tags, test_words: As for `most_frequent_tag_baseline`.
        iterations: Most iterations of L-BFGS, at L1 and L2 penalties of 0.1 and 0.01.

    Returns:
        Tags of each test sentence; None where python-crfsuite is not installed.

    Raises:
        TransformerError: As `most_frequent_tag_baseline`, or `iterations` below 1.

    Example:
        >>> crf_baseline([["to", "Rome"]], [["O", "B-PLACE"]], [["to", "Paris"]]) in (None, [["O", "B-PLACE"]])
        True
    """
    _check_training(train_words, train_tags)
    check_whole("iterations", iterations)
    try:
        import pycrfsuite
    except ImportError:
        return None
    trainer = pycrfsuite.Trainer(verbose=False)
    for words, tags in zip(train_words, train_tags, strict=True):
        if len(words):
            trainer.append(word_features(words), list(tags))
    trainer.set_params({"c1": 0.1, "c2": 0.01, "max_iterations": iterations, "feature.possible_transitions": True})
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "tags.crfsuite")
        trainer.train(path)
        tagger = pycrfsuite.Tagger()
        tagger.open(path)
        try:
            return [tagger.tag(word_features(words)) if len(words) else [] for words in test_words]
        finally:
            tagger.close()


def tagging_baselines(
    train: TaggedSplit, test: TaggedSplit, scheme: str | None = None, *, iterations: int = 100
) -> list[dict[str, Any]]:
    """Compute what a tagger has to beat, for its report: the most frequent tag of each word, and a linear CRF.

    Args:
        train, test: Tagged sentences.
        scheme: Scheme that is learned. None: IOB2; of plain tags, these.
        iterations: As for `crf_baseline`.

    Returns:
        Results of `entity_metrics` with a `name`; without that of the CRF where python-crfsuite is not installed.

    Raises:
        TransformerError: One of the splits has no tags, or as `crf_baseline`.

    Example:
        >>> train = TaggedSplit.from_words([["to", "Rome"]], [["O", "B-PLACE"]])
        >>> tagging_baselines(train, train)[0]["micro_f1"]
        1.0
    """
    for split in (train, test):
        if split.tags is None:
            raise TransformerError(f"{split.name} must have tags for a baseline; got sentences without")
    known, asked = tag_scheme(train.tags), tag_scheme(test.tags)
    learned = known if known == "plain" else scheme or "IOB2"
    tags = [convert_tags(row, known, learned) for row in train.tags]
    truth = [convert_tags(row, asked if learned != "plain" else learned, learned) for row in test.tags]
    words, unseen = ([split.words(i) for i in range(len(split))] for split in (train, test))
    found = {
        "most frequent tag": most_frequent_tag_baseline(words, tags, unseen),
        "CRF on word forms": crf_baseline(words, tags, unseen, iterations=iterations),
    }
    return [
        {**entity_metrics(truth, predicted, scheme=learned), "name": name}
        for name, predicted in found.items()
        if predicted is not None
    ]


def word_features(words: Sequence[str]) -> list[list[str]]:
    """Return what the CRF sees of each word of a sentence: its form, that of its neighbours, and the ends of the sentence.

    Example:
        >>> word_features(["Rome"])[0]
        ['bias', 'first', 'last', 'word=rome', 'shape=Xx', 'prefix2=ro', 'prefix3=rom', 'suffix2=me', 'suffix3=ome', 'capital']
    """
    forms = [_form(word) for word in words]
    result = []
    for i, (own, affixes) in enumerate(forms):
        features = ["bias"] + ["first"] * (i == 0) + ["last"] * (i == len(words) - 1) + own[:2] + affixes + own[2:]
        for offset in (-2, -1, 1, 2):
            if 0 <= i + offset < len(words):
                features += [f"{offset:+d}:{feature}" for feature in forms[i + offset][0]]
        if i:
            features.append(f"-1|0:{words[i - 1].lower()}|{words[i].lower()}")
        result.append(features)
    return result


def _form(word):
    """Return the features of a word that its neighbours use, too, and its prefixes and suffixes."""
    lower, shape = word.lower(), ""
    for sign in word:
        kind = "X" if sign.isupper() else "x" if sign.isalpha() else "0" if sign.isdigit() else sign
        shape += kind if not shape.endswith(kind) else ""
    own = [f"word={lower}", f"shape={shape}"]
    own += ["capital"] * word[:1].isupper() + ["upper"] * (len(word) > 1 and word.isupper())
    own += ["digits"] * word.isdigit() + ["has_digit"] * (not word.isdigit() and any(map(str.isdigit, word)))
    affixes = [f"prefix{n}={lower[:n]}" for n in (2, 3)] + [f"suffix{n}={lower[-n:]}" for n in (2, 3)]
    return own, affixes


def _check_training(words, tags):
    if len(words) != len(tags) or not any(len(row) for row in words):
        raise TransformerError(
            f"train_tags must be as many rows as train_words, with at least one word; got {len(tags)} for {len(words)}"
        )
    for i, (row, of_row) in enumerate(zip(words, tags, strict=True)):
        if len(row) != len(of_row):
            raise TransformerError(
                f"train_tags must have a tag for each word; row {i} has {len(of_row)} for {len(row)}"
            )
