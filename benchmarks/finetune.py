"""Fine-tuning side by side: tftransformer, keras-hub and Hugging Face in torch on the machine it runs on.

    python benchmarks/finetune.py --data=DATA --minilm=FOLDER
    python benchmarks/finetune.py --quick

Each contender has a process of its own, and one works at a time, in interleaved rounds. The tables (Markdown and
JSON) and a plot are left in `runs/benchmarks/finetune`, beside those of sections that an earlier run left there. `--data` is a folder with `sst2`, `ag_news` and
`medical_abstracts` in it, `--minilm` one of all-MiniLM-L6-v2; what needs them is left out without them. The
peers come with `pip install tftransformer[bench]`; one that is missing gives a row that says so.
"""

import tempfile
from pathlib import Path

from absl import flags
from finetune_choice import SECTIONS, choose_sections
from finetune_sections import FULL, QUICK, TINY, Bench, Section
from finetune_tables import HEADLINE, section_rows, section_text
from sidebyside.bars import plot_bars
from sidebyside.rounds import run_rounds
from sidebyside.table import machine, write_tables

from tftransformer.checkpoints.folders import read_optional_json
from tftransformer.runs.commands import run_command

FLAGS = flags.FLAGS
flags.DEFINE_boolean("quick", False, "Fewer sections, rows and rounds.")
flags.DEFINE_boolean("tiny", False, "Models of no use at all, to see that everything runs.")
flags.DEFINE_string("output_dir", "runs/benchmarks/finetune", "Where the tables go.")
flags.DEFINE_string("data", None, "A folder with the real data sets.")
flags.DEFINE_string("minilm", None, "A Hugging Face folder with real weights; default: the embedded preset.")
flags.DEFINE_list("sections", None, "Some of: " + "; ".join(f"{name} ({what})" for name, what in SECTIONS.items()))
flags.DEFINE_integer("rounds", None, "Turns for each contender, in place of each section's own number.")
flags.DEFINE_float("target", 0.8, "Validation accuracy of the section accuracy.")
flags.DEFINE_float("timeout", 900.0, "Seconds that one contender may take for its preparation or for a turn.")


def sections_of(bench: Bench, name: str) -> list[Section]:
    """The tables of one section."""
    makers = {
        "fixed": bench.fixed,
        "compiled": bench.compiled,
        "freeze": bench.freeze_two_thirds if FLAGS.quick or FLAGS.tiny else bench.freeze,
        "freeze_8_of_12": bench.freeze_8_of_12,
        "base": bench.base,
        "lengths": bench.lengths,
        "accuracy": bench.accuracy,
    }
    made = makers[name]()
    return made if isinstance(made, list) else [made]


def earlier_sections(folder: Path) -> dict[str, dict]:
    """By title the sections that a run on this machine left in the folder."""
    earlier = read_optional_json(folder / "finetune.json")
    return earlier.get("sections", {}) if earlier.get("machine") == machine() else {}


def main(_: list[str]) -> None:
    names, notes = choose_sections(
        FLAGS.sections, FLAGS.quick, FLAGS.data, FLAGS.minilm, FLAGS.rounds, FLAGS.target, FLAGS.timeout
    )
    for note in notes:
        print(note)
    folder = Path(FLAGS.output_dir)
    found = earlier_sections(folder)
    with tempfile.TemporaryDirectory() as scratch:
        sizes = TINY if FLAGS.tiny else QUICK if FLAGS.quick else FULL
        bench = Bench(Path(scratch), sizes, FLAGS.data, FLAGS.minilm, FLAGS.target)
        for section in (section for name in names for section in sections_of(bench, name)):
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


if __name__ == "__main__":
    run_command(main)
