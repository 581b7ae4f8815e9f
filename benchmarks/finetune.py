"""Fine-tuning side by side: tftransformer, keras-hub and Hugging Face in torch on the machine it runs on.

    python benchmarks/finetune.py --data=DATA --minilm=FOLDER
    python benchmarks/finetune.py --quick

Each contender has a process of its own, and one works at a time, in interleaved rounds. The tables (Markdown and JSON) and a plot are
left in `runs/benchmarks/finetune`, beside those of sections that an earlier run left there. `--data` is a folder with `sst2`,
`ag_news` and `medical_abstracts` in it, `--minilm` one of all-MiniLM-L6-v2; what needs them is left out without them. The peers come
with `pip install tftransformer[bench]`; one that is missing gives a row that says so.
"""

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median

from absl import flags
from finetune_sections import FULL, PEAK, QUICK, TINY, Bench, Section
from sidebyside.flag_rules import check_flags
from sidebyside.rounds import Outcome, run_rounds
from sidebyside.table import Column, Rows, add_ratios, figure, machine, markdown, plot_bars, summarize, write_tables

from tftransformer.checkpoints.folders import read_optional_json
from tftransformer.errors import TransformerError, near_miss
from tftransformer.runs.commands import run_command

SECTIONS = {
    "fixed": "full fine-tuning at length 128, MiniLM's shape",
    "compiled": "the same, steps compiled as a whole",
    "freeze": "a third, two thirds and all of the blocks frozen, three epochs",
    "freeze_8_of_12": "eight of twelve blocks frozen, five epochs",
    "base": "BERT-base's shape, a few dozen steps",
    "lengths": "the lengths of SST-2, AG News and Medical Abstracts",
    "accuracy": "seconds to one validation accuracy on SST-2",
}
QUICK_SECTIONS = ("fixed", "freeze", "lengths")
REAL_TEXTS = ("lengths", "accuracy")
# Left out of a full run: what it says, that compiling does not pay here, is said once.
ON_REQUEST = ("compiled",)
FLAG_RULES = {
    "at least 1": ["rounds"],
    "above 0 and below 1": ["target"],
    "above 0": ["timeout"],
    "a folder": ["data", "minilm"],
}

FLAGS = flags.FLAGS

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


def choose_sections(
    sections: Sequence[str] | None, quick: bool, data: str | None, minilm: str | None
) -> tuple[list[str], list[str]]:
    """Return the names of the sections, in the order of the tables, and lines that a user should read about them.

    Args:
        sections: Names that were asked for; None for all, or for those of a quick run.
        quick: Whether the run is a quick one.
        data, minilm: Folders, or None.

    Raises:
        TransformerError: A section is unknown.
    """
    wanted = sections or (QUICK_SECTIONS if quick else tuple(name for name in SECTIONS if name not in ON_REQUEST))
    for name in wanted:
        if name not in SECTIONS:
            known = ", ".join(SECTIONS)
            raise TransformerError(f"sections must be among {known}; got {name!r}{near_miss(name, SECTIONS)}")
    notes = []
    if data is None and (left_out := [name for name in REAL_TEXTS if name in wanted]):
        notes.append(f"no --data, so no real texts: {' and '.join(left_out)} left out")
        wanted = [name for name in wanted if name not in left_out]
    if data is not None and minilm is None and "accuracy" in wanted:
        notes.append("no --minilm, so the embedded preset is trained on real texts")
    return [name for name in SECTIONS if name in wanted], notes


def section_rows(section: Section, outcomes: Mapping[str, Outcome]) -> Rows:
    """Return rows with ratios to ours of the same precision, and shares of the peak in the same round."""
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
    """Return a heading, the table, the machine's peak, and a warning where contenders did not start alike."""
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
    """Return a line for each contender that started from another loss or dropout, or took other batches, than most."""
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


def earlier_sections(folder: Path) -> dict[str, dict]:
    """Return by title the sections that a run on this machine left in the folder."""
    earlier = read_optional_json(folder / "finetune.json")
    return earlier.get("sections", {}) if earlier.get("machine") == machine() else {}


def main(_: list[str]) -> None:
    check_flags(FLAG_RULES, FLAGS.flag_values_dict())
    names, notes = choose_sections(FLAGS.sections, FLAGS.quick, FLAGS.data, FLAGS.minilm)
    for note in notes:
        print(note)
    folder = Path(FLAGS.output_dir)
    found = earlier_sections(folder)
    with tempfile.TemporaryDirectory() as scratch:
        sizes = TINY if FLAGS.tiny else QUICK if FLAGS.quick else FULL
        bench = Bench(Path(scratch), sizes, FLAGS.data, FLAGS.minilm, FLAGS.target)
        for section in (section for name in names for section in getattr(bench, name)()):
            print(f"\n{section.title}", flush=True)
            outcomes = run_rounds(
                section.contenders,
                FLAGS.rounds or section.rounds,
                timeout=FLAGS.timeout,
                preparing=section.preparing,
                logs=folder / "logs",
            )
            rows = section_rows(section, outcomes)
            text = section_text(section, rows)
            print("\n" + text, flush=True)
            found[section.title] = {"kind": section.kind, "rows": rows, "text": text}
            # After each section, so that an interrupted run leaves what it has.
            result = {"machine": machine(), "sections": found}
            write_tables(folder, "finetune", "\n".join(part["text"] for part in found.values()), result)
            panels = {name: (part["rows"], *HEADLINE[part["kind"]]) for name, part in found.items()}
            plot_bars(folder / "finetune.png", panels)
    print(f"saved {folder}")


def define_flags() -> None:
    flags.DEFINE_boolean("quick", False, "Fewer sections, rows and rounds.")
    flags.DEFINE_boolean("tiny", False, "Models of no use at all, to see that everything runs.")
    flags.DEFINE_string("output_dir", "runs/benchmarks/finetune", "Where the tables go.")
    flags.DEFINE_string("data", None, "A folder with the real data sets.")
    flags.DEFINE_string("minilm", None, "A Hugging Face folder with real weights; default: the embedded preset.")
    flags.DEFINE_list("sections", None, "Some of: " + "; ".join(f"{name} ({what})" for name, what in SECTIONS.items()))
    flags.DEFINE_integer("rounds", None, "Turns for each contender, in place of each section's own number.")
    flags.DEFINE_float("target", 0.8, "Validation accuracy of the section accuracy.")
    flags.DEFINE_float("timeout", 900.0, "Seconds that one contender may take for its preparation or for a turn.")


if __name__ == "__main__":
    define_flags()
    run_command(main)
