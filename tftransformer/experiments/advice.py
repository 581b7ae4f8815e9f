"""What to try where a model is below word counting, in flags of `examples/classify.py`."""

import math
from collections.abc import Mapping
from typing import Any

from tftransformer.data.pipeline import num_batches
from tftransformer.evaluation.reports import Report
from tftransformer.experiments.options import ClassificationOptions
from tftransformer.finetuning.defaults import UPDATES

# Above this rate, pretrained weights rather want a lower one.
_HIGH_RATE = 2e-4
_MUCH_TRUNCATED = 0.1


def below_baseline(
    report: Report,
    options: ClassificationOptions,
    recipe: Mapping[str, Any],
    rows: int,
    data: Mapping[str, Any],
    usual_rate: float,
) -> str:
    """Lines for a report whose model has a lower macro-F1 than its baseline; "" for all others.

    Args:
        report: On the test rows, with its baseline.
        options: Of the run.
        recipe: The `learning_rate` and `epochs` that it had.
        rows: How many texts it was trained on.
        data: What the data report says of the training rows.
        usual_rate: What `learning_rate` is where nobody names one.
    """
    baseline = report.baseline
    if baseline is None or report["macro_f1"] >= baseline["macro_f1"]:
        return ""
    lost = baseline["macro_f1"] - report["macro_f1"]
    tries = [
        *_longer(options, recipe, rows),
        _rate(recipe, usual_rate),
        *_more_weights(options),
        *_more_text(options, data),
    ]
    width = max(len(flag) for flag, _ in tries)
    lines = [f"  {flag:{width}}  {reason}" for flag, reason in tries]
    name = baseline.get("name", "its baseline")
    return "\n".join(
        [f"The model is below {name}, by {lost:.4f} of macro F1. To try, the likeliest first:", *lines]
    )


def _longer(options: ClassificationOptions, recipe: Mapping[str, Any], rows: int) -> list[tuple[str, str]]:
    steps = math.ceil(num_batches(rows, options.batch_size) / options.gradient_accumulation)
    updates = steps * recipe["epochs"]
    if updates >= UPDATES:
        return []
    return [(
        f"--epochs={math.ceil(UPDATES / steps)}",
        f"this run made {updates:,} updates; fewer than {UPDATES} are seldom enough",
    )]  # fmt: skip


def _rate(recipe: Mapping[str, Any], usual: float) -> tuple[str, str]:
    rate = recipe["learning_rate"]
    # Where pretrained weights stay as they are, rates are higher by nature, and so is the usual one.
    if rate > max(_HIGH_RATE, usual):
        return _flag(usual), f"lower than {rate:g}, which may be too much"
    return _flag(3 * rate), f"three times {rate:g}, which may be too little"


def _flag(rate: float) -> str:
    return f"--learning_rate={rate:.0e}".replace("e-0", "e-")


def _more_weights(options: ClassificationOptions) -> list[tuple[str, str]]:
    if str(options.fine_tuning()) in ("full", "freeze:0"):
        return []
    return [("--strategy=full", f"more weights learn than with {options.fine_tuning()}")]


def _more_text(options: ClassificationOptions, data: Mapping[str, Any]) -> list[tuple[str, str]]:
    found = []
    if (data.get("truncated") or 0) > _MUCH_TRUNCATED and data.get("tokens"):
        found.append((
            f"--max_length={data['tokens']['95']}",
            f"{data['truncated']:.0%} of the training texts are cut off (at most the encoder's own limit)",
        ))  # fmt: skip
    if options.train_examples is not None:
        found.append(("without --train_examples", f"train on all {data['rows']:,} rows"))
    return found
