"""Full fine-tuning, freezing and LoRA against Hugging Face in torch (PEFT for LoRA): is the test accuracy the same?

    python benchmarks/strategies_parity.py --data=DATA --minilm=FOLDER

`--data` is a folder with `sst2` in it, `--minilm` one of all-MiniLM-L6-v2; the peers come with
`pip install tftransformer[bench]`. Per seed both sides start from the same weights, head and LoRA matrices, see the
same batches in the same order, and have the same rate for every weight, decay, schedule and clipping; each reads
the texts with its own tokenizer. What is left to differ are the masks of dropout (`--dropout=0` takes them out),
where Adam adds its epsilon, and that frozen layers run without dropout here and with it there.

The difference of the mean accuracies is "within" if it is no larger than the larger of the two standard
deviations over the seeds; if it is larger, "beyond the spread" says that Welch's 95 % interval of it holds 0, and
"different" that it does not.

Each run of a side is a file in the output folder; what is there is not run again, and more strategies or seeds can
join it.
"""

import contextlib
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from absl import flags
from sidebyside.child import Child, ChildFailed
from sidebyside.contenders import Contender
from sidebyside.table import machine, write_tables
from sidebyside.texts import real
from strategies_choice import NUMBERS, RATES, check_numbers, choose_strategies, encoder_config
from strategies_verdict import SIDES, finished, stem, step_seconds, summary, table

from tftransformer.errors import TransformerError
from tftransformer.files import sha256, write_json
from tftransformer.runs.commands import run_command

FLAGS = flags.FLAGS
flags.DEFINE_string("data", None, "A folder with sst2/train.tsv and sst2/stanford_sentences_test.tsv.")
flags.DEFINE_string("minilm", None, "A Hugging Face folder of a BERT encoder, such as all-MiniLM-L6-v2.")
flags.DEFINE_string("output_dir", "runs/benchmarks/strategies_parity", "Where the runs and the table go.")
flags.DEFINE_list("strategies", ["full", "freeze:4", "lora:8"], "Some of full, freeze:N and lora:RANK.")
flags.DEFINE_integer("seeds", 3, "Runs of each side, which differ in head, order and dropout.")
flags.DEFINE_integer(
    "train_rows", 1000, "Training rows, the same for every seed; with few steps LoRA learns nothing on either side."
)
flags.DEFINE_integer("test_rows", None, "Test sentences; default: all.")
flags.DEFINE_integer("epochs", 4, "Times that the rows are seen.")
flags.DEFINE_integer("batch_size", 32, "Rows a step.")
flags.DEFINE_float("dropout", 0.1, "Rate in the encoder and before the head.")
flags.DEFINE_float("timeout", 1800.0, "Seconds that one run may take.")

WORKERS = {"ours": "ours_strategy.py", "theirs": "torch_strategy.py"}
RECIPE = {"length": 128, "warmup": 0.1, "weight_decay": 0.01, "clip": 1.0}


def write_start(path: Path, seed: int, config: Any, rank: int) -> None:
    """What both sides start a seed's run from: the order of the rows in each epoch, the head, LoRA's A."""
    draw = np.random.default_rng(seed)
    width, limit = config.hidden_dim, config.hidden_dim**-0.5
    order = np.stack([draw.permutation(FLAGS.train_rows) for _ in range(FLAGS.epochs)])
    head = draw.normal(0.0, 0.02, (width, 2)).astype("float32")
    down = draw.uniform(-limit, limit, (config.num_layers, 2, width, rank)).astype("float32")
    np.savez(path, order=order, head=head, down=down)


@contextlib.contextmanager
def both_sides(settings: dict[str, Any], logs: Path) -> Iterator[Callable[[str, int], dict[str, Any]]]:
    """A process for each side; what is yielded has a side make the run of a seed."""
    logs.mkdir(exist_ok=True)
    children: dict[str, Child] = {}

    def ask(side: str, question: Callable[[Child], dict[str, Any]]) -> dict[str, Any]:
        try:
            return question(children[side])
        except ChildFailed as failure:
            raise TransformerError(f"{settings['strategy']}, {side}: {failure}") from None

    try:
        for side, worker in WORKERS.items():
            children[side] = Child(Contender(side, worker, settings), logs / f"{side}.log")
        for side in SIDES:
            ask(side, lambda child: child.prepare(FLAGS.timeout))
        yield lambda side, seed: ask(side, lambda child: child.turn(seed, FLAGS.timeout))
    finally:
        for child in children.values():
            child.end()


def run_strategy(folder: Path, strategy: str, settings: dict[str, Any], config: Any) -> None:
    """Run whatever the folder does not have yet of one strategy, the sides by turns."""
    done = finished(folder, strategy)
    missing = [(seed, side) for seed in range(FLAGS.seeds) for side in SIDES if seed not in done[side]]
    print(f"{strategy}: {2 * FLAGS.seeds - len(missing)} of {2 * FLAGS.seeds} runs are there", flush=True)
    if not missing:
        return
    name, _, number = strategy.partition(":")
    rank = int(number) if name == "lora" else 1
    for seed in range(FLAGS.seeds):
        write_start(Path(settings["starts"]) / f"seed-{seed}.npz", seed, config, rank)
    told = {**settings, "strategy": strategy, "learning_rate": RATES[name]}
    with both_sides(told, folder / "logs") as run:
        for place, (seed, side) in enumerate(missing, start=1):
            piece = run(side, seed)
            piece["accuracy"] = float(np.mean(np.equal(piece["predicted"], settings["test_labels"])))
            write_json(folder / f"{stem(strategy, side)}-{seed}.json", piece)
            print(
                f"{strategy}, seed {seed}, {side}: accuracy {piece['accuracy']:.4f}, "
                f"{step_seconds(piece)[0]:.3f} s a step ({place} of {len(missing)} runs)",
                flush=True,
            )


def main(_: list[str]) -> None:
    from tftransformer.runs.resumable import digest_of, resumable_folder

    check_numbers({name: FLAGS[name].value for name in NUMBERS})
    config = encoder_config(FLAGS.data, FLAGS.minilm)
    strategies = choose_strategies(FLAGS.strategies, config.num_layers)
    train = real(FLAGS.data, "sst2", FLAGS.train_rows)
    test = real(FLAGS.data, "sst2_test", FLAGS.test_rows)
    for name, found in (("train_rows", train), ("test_rows", test)):
        if len(found.texts) < (FLAGS[name].value or 1):
            raise TransformerError(f"{name} must be at most {len(found.texts)}; got {FLAGS[name].value}")
    texts = {"texts": train.texts, "labels": train.labels, "test_texts": test.texts}
    recipe = {**RECIPE, "dropout": FLAGS.dropout, "epochs": FLAGS.epochs, "batch_size": FLAGS.batch_size}
    identity = {
        **recipe,
        "train_rows": len(train.texts),
        "test_rows": len(test.texts),
        "learning_rates": RATES,
        "texts": digest_of([texts, test.labels]),
        "weights": sha256(Path(FLAGS.minilm) / "model.safetensors")[:16],
    }
    with (
        resumable_folder(FLAGS.output_dir, "strategies parity", identity) as folder,
        tempfile.TemporaryDirectory() as scratch,
    ):
        write_json(Path(scratch) / "texts.json", texts)
        settings = {
            **recipe,
            "minilm": str(Path(FLAGS.minilm).resolve()),
            "texts": str(Path(scratch) / "texts.json"),
            "starts": scratch,
            "test_labels": test.labels,
        }
        rows = []
        for strategy in strategies:
            run_strategy(folder, strategy, settings, config)
            rows.append(summary(folder, strategy, FLAGS.seeds))
            # After each strategy, so that an interrupted run leaves what it has.
            result = {"machine": machine(), "settings": identity, "seeds": FLAGS.seeds, "rows": rows}
            write_tables(folder, "parity", table(rows), result)
    print("\n" + table(rows))
    print(f"saved {FLAGS.output_dir}")


if __name__ == "__main__":
    run_command(main)
