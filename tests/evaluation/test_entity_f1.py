"""The metric of a training run is the F1 that the report has."""

import numpy as np
import pytest

from tftransformer.evaluation.entity_f1 import EntityF1
from tftransformer.evaluation.tagging import SCHEMES, entity_metrics
from tftransformer.objectives.tagging import complete_tags


@pytest.mark.parametrize("scheme", [name for name in SCHEMES if name != "plain"])
def test_it_is_that_of_the_report_for_any_tags(scheme):
    tags, _ = complete_tags(["O", "B-X", "B-Y"], scheme)
    random = np.random.default_rng(1)
    metric, rows = EntityF1(tags), ([], [])
    for _ in range(4):
        true = random.integers(0, len(tags), (6, 11))
        predicted = np.where(random.random((6, 11)) < 0.7, true, random.integers(0, len(tags), (6, 11)))
        # Not every token is the first of a word, and rows end where they end.
        real = (random.random((6, 11)) < 0.6) & (np.arange(11) < random.integers(1, 12, (6, 1)))
        metric.update_state(true, np.eye(len(tags))[predicted], sample_weight=real * 0.5)
        for ids, found in ((true, rows[0]), (predicted, rows[1])):
            found += [[tags[i] for i in row[keep]] for row, keep in zip(ids, real, strict=True)]
    expected = entity_metrics(*rows, scheme=scheme)
    assert float(metric.result()) == pytest.approx(expected["micro_f1"], abs=1e-6)
    assert float(metric.true) == expected["entities"]["support"]
    again = EntityF1.from_config(metric.get_config())
    assert again.tags == tags and float(again.result()) == 0.0
