"""Advice for a model that is below word counting, in flags of the command `classify`."""

import math
from collections.abc import Mapping
from typing import Any

from tftransformer.data.pipeline import num_batches
from tftransformer.evaluation.reports import Report
from tftransformer.finetuning.recipe import UPDATES
from tftransformer.runs.options import ClassificationOptions

# Above this rate, a lower one is advised for pretrained weights.
_HIGH_RATE = 2e-4
_MUCH_TRUNCATED = 0.1


def below_baseline(
    report: Report,
    options: ClassificationOptions,
    course: Mapping[str, Any],
    data: Mapping[str, Any],
    usual_rate: float,
    longest: int | None = None,
) -> str:
    """Lines for a report whose model has a lower macro-F1 than its baseline; "" for all others.

    Args:
        report: Report on the test rows, with its baseline.
        options: Options of the run.
        course: Course of the training: `learning_rate`, `epochs`, `epochs_run` of them before it was stopped, and the `rows`
            of an epoch, changed copies included; of a run within some minutes also `updates_run`, and `minutes` where more of
            them would have done good.
        data: Data report on the training rows.
        usual_rate: Default of `learning_rate`.
        longest: The most tokens that the encoder takes; None: any number.
    """
    baseline = report.baseline
    if baseline is None or report["macro_f1"] >= baseline["macro_f1"]:
        return ""
    lost = baseline["macro_f1"] - report["macro_f1"]
    updated = [*_longer(options, course), _rate(course, usual_rate)]
    tries = [
        *(
            updated
            if course["epochs"] or course.get("minutes")
            else [("--strategy=head_start", "everything trains, in 250 updates or more")]
        ),
        *_more_weights(options),
        *_more_text(options, data, longest),
    ]
    width = max(len(flag) for flag, _ in tries)
    lines = [f"  {flag:{width}}  {reason}" for flag, reason in tries]
    name = baseline.get("name", "its baseline")
    return "\n".join([f"The model is below {name}, by {lost:.4f} of macro F1. To try, the likeliest first:", *lines])


def _longer(options: ClassificationOptions, course: Mapping[str, Any]) -> list[tuple[str, str]]:
    steps = math.ceil(num_batches(course["rows"], options.batch_size) / options.gradient_accumulation)
    updates = steps * course["epochs_run"]
    if course.get("minutes"):
        return [(
            f"--minutes={course['minutes']}",
            f"there was time for {course['updates_run']:,} updates in this run; so many rows want more",
        )]  # fmt: skip
    if options.minutes is not None or updates >= UPDATES:
        return []
    flags = []
    if steps * course["epochs"] < UPDATES:
        flags.append(f"--epochs={math.ceil(UPDATES / steps)}")
    if course["epochs_run"] < course["epochs"]:
        flags.append("without --early_stopping")
    return [(" ".join(flags), f"this run made {updates:,} updates; fewer than {UPDATES} are seldom enough")]


def _rate(course: Mapping[str, Any], usual: float) -> tuple[str, str]:
    rate = course["learning_rate"]
    # Where pretrained weights stay as they are, rates are higher by nature, and so is the usual one.
    if rate > max(_HIGH_RATE, usual):
        return _flag(usual), f"lower than {rate:g}, which may be too much"
    return _flag(3 * rate), f"three times {rate:g}, which may be too little"


def _flag(rate: float) -> str:
    return f"--learning_rate={rate:.0e}".replace("e-0", "e-")


def _more_weights(options: ClassificationOptions) -> list[tuple[str, str]]:
    if str(options.fine_tuning()) in ("full", "freeze:0"):
        return []
    # Not every command has --strategy, and none takes it beside --freeze_layers.
    flag = "without --freeze_layers" if options.strategy is None else "--strategy=full"
    return [(flag, f"more weights learn than with {options.fine_tuning()}")]


def _more_text(options: ClassificationOptions, data: Mapping[str, Any], longest: int | None) -> list[tuple[str, str]]:
    found = []
    # Without --sequence_length a text may have as many tokens as the encoder takes.
    room = options.sequence_length is not None and (longest is None or options.sequence_length < longest)
    if room and (data.get("truncated") or 0) > _MUCH_TRUNCATED and data.get("tokens"):
        wanted = data["tokens"]["95"]
        found.append((
            f"--sequence_length={wanted if longest is None else min(wanted, longest)}",
            f"{data['truncated']:.0%} of the training texts are cut off",
        ))  # fmt: skip
    if options.train_examples is not None:
        found.append(("without --train_examples", f"train on all {data['rows']:,} rows"))
    return found
