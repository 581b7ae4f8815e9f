"""Generation side by side: new tokens a second, greedy and with beams, for one prompt and for sixteen.

    python benchmarks/generation.py
    python benchmarks/generation.py --quick

tftransformer's `generate` in a graph, keras-hub's GPT2CausalLM and Hugging Face's GPT-2 in torch, all with GPT-2 small's
shape, random weights, a key-value cache, and no end before the last token. The table (Markdown and JSON) and a plot are
left in `runs/benchmarks/generation`. The peers come with `pip install tftransformer[bench]`; one that is missing gives a
row that says so.
"""

from pathlib import Path

from absl import flags
from sidebyside.rounds import Contender, run_rounds
from sidebyside.table import Column, add_ratios, machine, markdown, plot_bars, summarize, write_tables

from tftransformer.errors import check_choice, check_whole
from tftransformer.runs.commands import run_command

FLAGS = flags.FLAGS
BASE = "torch"
NAMES = {"ours": "ours", "keras_hub": "keras-hub", "torch": BASE}
SMALL = {"vocabulary_size": 50257, "layers": 12, "width": 768, "heads": 12}
TINY = {"vocabulary_size": 1000, "layers": 2, "width": 64, "heads": 2}
COLUMNS = [
    Column("tokens/s", "tokens_per_second", ",.1f"),
    Column("times torch", "speed_up", ".2f"),
    Column("seconds to the first text", "seconds_to_first_text", ".1f"),
    Column("peak MB", "peak_bytes", ",.0f", 1e-6),
]

flags.DEFINE_boolean("quick", False, "A tiny model, eight new tokens, two turns.")
flags.DEFINE_string("output_dir", "runs/benchmarks/generation", "Where the table goes.")
flags.DEFINE_list("batch_sizes", ["1", "16"], "Prompts at a time.")
flags.DEFINE_list("beams", ["1", "4"], "Widths of the search; 1 is greedy.")
flags.DEFINE_string("dtype", "float32", "float32 or bfloat16, of everybody.")
flags.DEFINE_integer("prompt", 32, "Tokens of a prompt.")
flags.DEFINE_integer("new_tokens", 128, "Tokens that are generated.")
flags.DEFINE_integer("rounds", 3, "Turns for each contender.")
flags.DEFINE_boolean("xla", False, "Compile our graph with XLA.")
flags.DEFINE_float("timeout", 900.0, "Seconds that one contender may take for its preparation or for a turn.")


def sections() -> dict[str, dict[str, int]]:
    """Title of each table, and what it varies."""
    found = {}
    for beams in FLAGS.beams:
        for batch in FLAGS.batch_sizes:
            for name, value in (("beams", beams), ("batch_sizes", batch)):
                check_whole(name, int(value) if value.isdigit() else value)
            how = "greedy" if int(beams) == 1 else f"{beams} beams"
            found[f"{how}, batch {batch}"] = {"beams": int(beams), "batch_size": int(batch)}
    return found


def main(_: list[str]) -> None:
    for name in ("prompt", "new_tokens", "rounds"):
        check_whole(name, FLAGS[name].value)
    check_choice("dtype", FLAGS.dtype, ("float32", "bfloat16"))
    folder, panels, texts = Path(FLAGS.output_dir), {}, []
    new_tokens, rounds = (8, 2) if FLAGS.quick else (FLAGS.new_tokens, FLAGS.rounds)
    common = {
        **(TINY if FLAGS.quick else SMALL),
        "prompt": FLAGS.prompt,
        "new_tokens": new_tokens,
        "dtype": FLAGS.dtype,
    }
    for title, varied in sections().items():
        contenders = [
            Contender(name, "generation_runs.py", {**common, **varied, "runtime": runtime, "xla": FLAGS.xla})
            for runtime, name in NAMES.items()
        ]
        rows = summarize(run_rounds(contenders, rounds, timeout=FLAGS.timeout, logs=folder / "logs"))
        add_ratios(rows, "tokens_per_second", BASE)
        for row in rows:
            if ratio := row["figures"].get("tokens_per_second_ratio"):
                row["ready"]["speed_up"] = 1 / ratio["median"]
        title = f"{title}, {FLAGS.dtype}: {new_tokens} tokens after {FLAGS.prompt}"
        panels[title] = (rows, "tokens_per_second", "tokens/s")
        texts.append(f"### {title}\n\n{markdown(rows, COLUMNS)}\n")
        print("\n" + texts[-1], flush=True)
    tables = {title: rows for title, (rows, *_) in panels.items()}
    write_tables(folder, "generation", "\n".join(texts), {"machine": machine(), "tables": tables})
    plot_bars(folder / "generation.png", panels)
    print(f"saved {folder}")


if __name__ == "__main__":
    run_command(main)
