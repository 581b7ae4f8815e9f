"""From outcomes to the tables of `finetune.py`: columns, ratios at equal precision, shares of the peak."""

from collections.abc import Mapping
from statistics import median

from finetune_sections import PEAK, Section
from sidebyside.contenders import Outcome
from sidebyside.table import Column, Rows, add_ratios, figure, markdown, summarize

# Says something only where contenders prepare one at a time.
_FIRST_STEP = Column("s to first step", "seconds_to_first_step")
_COSTS = [Column("GB", "peak_bytes", ".2f", 1e-9), _FIRST_STEP]
_RATE = [Column("examples/s", "examples_per_second"), Column("ours / this", "examples_per_second_ratio", ".2f")]
# Of all cores: what other processes on a shared machine hardly change.
_PROCESSOR = [Column("CPU ms/example", "processor_ms", ".0f"), Column("this / ours", "processor_ms_ratio", ".2f")]
COLUMNS = {
    "speed": [
        *_RATE,
        *_PROCESSOR,
        Column("padding %", "padding", ".1f", 100),
        Column("% of peak", "computed_share", ".0f", 100),
        Column("without padding", "real_share", ".0f", 100),
        *_COSTS,
    ],
    "freeze": [
        Column("s in all", "seconds"),
        Column("this / ours", "seconds_ratio", ".2f"),
        Column("s first epoch", "first_epoch_seconds", ".2f"),
        Column("s later epochs", "later_epoch_seconds", ".2f"),
        Column("this / ours", "later_epoch_seconds_ratio", ".2f"),
        *_PROCESSOR,
        *_COSTS,
    ],
    "accuracy": [
        Column("s to accuracy", "seconds_to_accuracy"),
        Column("this / ours", "seconds_to_accuracy_ratio", ".2f"),
        Column("reached %", "reached", ".0f", 100, "mean"),
        Column("best accuracy", "best_accuracy", ".3f"),
        Column("steps", "steps", ".0f"),
        *_RATE,
        Column("padding %", "padding", ".1f", 100),
        *_COSTS,
    ],
}
# The figure of the plot and the label of its axis.
HEADLINE = {
    "speed": ("examples_per_second", "examples/s"),
    "freeze": ("seconds", "seconds in all"),
    "accuracy": ("seconds_to_accuracy", "seconds to the accuracy"),
}
_LOWER = ("seconds", "later_epoch_seconds", "seconds_to_accuracy", "processor_ms")


def section_rows(section: Section, outcomes: Mapping[str, Outcome]) -> Rows:
    """Rows with ratios to ours of the same precision, and shares of the peak in the same round."""
    peaks = outcomes[PEAK.name].turns if PEAK.name in outcomes else []
    for outcome in outcomes.values():
        for turn, peak in zip(outcome.turns, peaks, strict=False):
            highest = peak.get(f"peak_{outcome.contender.settings.get('precision')}")
            for kind in ("real", "computed"):
                if highest and f"{kind}_gflops" in turn:
                    turn[f"{kind}_share"] = turn[f"{kind}_gflops"] / highest
    rows = summarize(outcomes)
    by_precision: dict[str, Rows] = {}
    for row in rows:
        by_precision.setdefault(row["settings"].get("precision"), []).append(row)
    for group in by_precision.values():
        for key in ("examples_per_second", *_LOWER):
            add_ratios(group, key, group[0]["name"], lower_is_better=key in _LOWER)
    return rows


def section_text(section: Section, rows: Rows) -> str:
    """A heading, the table, the machine's peak, and a warning where contenders did not start alike."""
    shown = [row for row in rows if row["name"] != PEAK.name]
    columns = COLUMNS[section.kind]
    if section.preparing > 1:
        columns = [column for column in columns if column is not _FIRST_STEP]
    lines = [f"## {section.title}", "", markdown(shown, columns)]
    for row in rows:
        if row["name"] == PEAK.name and row["figures"]:
            fp32, bf16 = (figure(row, f"peak_{dtype}") for dtype in ("float32", "bfloat16"))
            lines += ["", f"Matrix products: {fp32:.0f} GFLOP/s in fp32, {bf16:.0f} in bf16."]
    return "\n".join([*lines, *unlike(shown), ""])


def unlike(rows: Rows) -> list[str]:
    """A line for each contender that started from another loss or dropout, or took other batches, than most."""
    found = []
    # The blocks alone are another, smaller model.
    rows = [row for row in rows if not row["settings"].get("freeze_embeddings")]
    for key, near in (("loss_before", 0.02), ("dropout", 0.0), ("batch_size", 0)):
        values = {row["name"]: row["ready"][key] for row in rows if key in row["ready"]}
        middle = median(values.values()) if values else 0
        found += [
            f"Not alike: {name} has {key.replace('_', ' ')} {value:.4g}, the others {middle:.4g}."
            for name, value in values.items()
            if not abs(value - middle) <= near
        ]
    return ["", *found] if found else []
