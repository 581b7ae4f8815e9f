"""Full fine-tuning, freezing and LoRA compared in test accuracy with Hugging Face in torch (PEFT for LoRA).

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
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from absl import flags
from scipy import stats
from sidebyside.flag_rules import check_flags
from sidebyside.rounds import Child, ChildFailed, Contender
from sidebyside.table import machine, write_tables
from sidebyside.texts import real

from tftransformer import finetuning
from tftransformer.errors import TransformerError
from tftransformer.files import sha256, write_json
from tftransformer.runs.commands import run_command

FLAGS = flags.FLAGS

FLAG_RULES = {
    "at least 2": ["seeds"],
    "at least 1": ["train_rows", "test_rows", "epochs", "batch_size"],
    "at least 0 and below 1": ["dropout"],
    "above 0": ["timeout"],
}
SIDES = {"ours": "ours.py:strategy", "theirs": "huggingface.py:strategy"}
# The fewer weights train, the higher the rate that they need.
RATES = {"full": 1e-4, "freeze": 2e-4, "lora": 2e-3}
RECIPE = {"length": 128, "warmup": 0.1, "weight_decay": 0.01, "clip": 1.0}
NEEDS = ("accuracy", "predicted", "ends", "parameters", "loss_before", "tokens", "steps")
# Steps whose time is not looked at: they trace, and allocate memory.
_WARMING = 3


def choose_strategies(spellings: Sequence[str], blocks: int) -> list[str]:
    """Check the strategies, those that both sides have, each once, for an encoder of so many blocks; return the full spellings.

    Example:
        >>> choose_strategies(["full", "lora"], 6)
        ['full', 'lora:8']
    """
    chosen: list[str] = []
    for text in spellings:
        strategy = finetuning.parse_strategy(text)
        method = strategy.methods[0]
        if len(strategy.methods) > 1 or method.name not in RATES:
            raise TransformerError(f"strategies must be among {', '.join(RATES)}; got {text!r}")
        if str(strategy) in chosen:
            raise TransformerError(f"strategies must be different; got {text!r} twice")
        if method.name == "freeze" and method.layers > blocks:
            raise TransformerError(f"strategies must freeze at most {blocks} blocks; got {text!r}")
        chosen.append(str(strategy))
    if not chosen:
        raise TransformerError("strategies must name at least one; got none")
    return chosen


def encoder_config(data: str | None, minilm: str | None) -> Any:
    """Return the `TransformerConfig` of the encoder; a `TransformerError` where a folder is none, or not one of a BERT encoder."""
    from tftransformer.checkpoints import load_preset  # loads TensorFlow

    for name, folder in (("data", data), ("minilm", minilm)):
        if folder is None or not Path(folder).is_dir():
            raise TransformerError(f"{name} must be a folder; got {folder!r}")
    for file in ("config.json", "model.safetensors"):
        if not (Path(minilm) / file).is_file():
            raise TransformerError(f"minilm must be a folder with {file}; got {minilm!r}")
    config = load_preset(minilm).config
    if config.family != "bert":
        raise TransformerError(f"minilm must hold a BERT encoder; got {config.family!r}")
    return config


def judge(ours: Sequence[float], theirs: Sequence[float]) -> dict[str, Any]:
    """Return means, standard deviations over the seeds, the difference and what it says.

    Args:
        ours, theirs: A metric of each seed, of the same at least two.

    Returns:
        Figures by name; `verdict` is "within", "beyond the spread" or "different".

    Example:
        >>> judge([0.80, 0.82, 0.84], [0.81, 0.82, 0.83])["verdict"]
        'within'
    """
    means, spreads = np.mean([ours, theirs], axis=1), np.std([ours, theirs], axis=1, ddof=1)
    low = high = difference = float(means[0] - means[1])
    if spreads.any():
        # Welch 1947: the variances of the two means, and the degrees of freedom of their sum.
        parts = spreads**2 / len(ours)
        freedom = parts.sum() ** 2 / (parts**2 / (len(ours) - 1)).sum()
        half = float(stats.t.ppf(0.975, freedom) * np.sqrt(parts.sum()))
        low, high = difference - half, difference + half
    # A last place lost in the mean of equal figures is no difference.
    within = abs(difference) <= spreads.max() + 1e-12
    return {
        "mean": means.tolist(),
        "deviation": spreads.tolist(),
        "difference": difference,
        "welch": [low, high],
        "verdict": "within" if within else "beyond the spread" if low <= 0 <= high else "different",
    }


def finished(folder: Path, strategy: str) -> dict[str, dict[int, dict[str, Any]]]:
    """Read by side and seed the runs that the folder has."""
    from tftransformer.runs.resumable import finished_pieces  # loads TensorFlow

    return {side: finished_pieces(folder, stem(strategy, side), NEEDS) for side in SIDES}


def stem(strategy: str, side: str) -> str:
    """Return the start of the names of a side's files."""
    return f"{strategy.replace(':', '_')}-{side}"


def step_seconds(piece: dict[str, Any]) -> tuple[float, float]:
    """Return wall and processor seconds of a run's step, the median."""
    steps = np.diff(np.array(piece["ends"]), axis=0)
    return tuple(np.median(steps[_WARMING:] if len(steps) > _WARMING else steps, axis=0))


def summary(folder: Path, strategy: str, seeds: int) -> dict[str, Any]:
    """Return a strategy's row, once both sides have a run of each seed: the judgement, the trained weights, the time of a step."""
    found = finished(folder, strategy)
    runs = {side: [pieces[seed] for seed in range(seeds)] for side, pieces in found.items()}
    pairs = list(zip(runs["ours"], runs["theirs"], strict=True))
    ratios = [np.divide(step_seconds(ours), step_seconds(theirs)) for ours, theirs in pairs]
    agreeing = [np.mean(np.equal(ours["predicted"], theirs["predicted"])) for ours, theirs in pairs]
    return {
        "strategy": strategy,
        "accuracy": {side: [run["accuracy"] for run in of_side] for side, of_side in runs.items()},
        **judge(*([run["accuracy"] for run in of_side] for of_side in runs.values())),
        "parameters": [of_side[0]["parameters"] for of_side in runs.values()],
        "seconds_a_step": [np.median([step_seconds(run)[0] for run in of_side]) for of_side in runs.values()],
        "wall_ratio": float(np.median([wall for wall, _ in ratios])),
        "processor_ratio": float(np.median([processor for _, processor in ratios])),
        "same_predictions": float(np.mean(agreeing)),
        "unlike": unlike(pairs),
    }


def unlike(pairs: Sequence[tuple[dict, dict]]) -> list[str]:
    """Say in what two runs that should be alike from the start were not."""
    found = []
    for name, near in (("parameters", 0), ("tokens", 0), ("steps", 0), ("loss_before", 1e-4)):
        worst = max(pairs, key=lambda pair: abs(pair[0][name] - pair[1][name]))
        if abs(worst[0][name] - worst[1][name]) > near:
            found.append(f"{name.replace('_', ' ')} {worst[0][name]:.6g}, theirs {worst[1][name]:.6g}")
    return found


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Write the rows in Markdown."""
    lines = [
        "| strategy | ours % | Hugging Face % | difference | Welch 95 % | judgement "
        "| trained weights, ours / theirs | same answers % | s a step ours | time ours / theirs | CPU ours / theirs |",
        "| --- | --: | --: | --: | --: | --- | --: | --: | --: | --: | --: |",
    ]
    for row in rows:
        sides = [f"{100 * m:.2f} ± {100 * d:.2f}" for m, d in zip(row["mean"], row["deviation"])]
        low, high = (100 * end for end in row["welch"])
        lines.append(
            f"| {row['strategy']} | {sides[0]} | {sides[1]} | {100 * row['difference']:+.2f} "
            f"| {low:+.2f} to {high:+.2f} | {row['verdict']} "
            f"| {row['parameters'][0]:,} / {row['parameters'][1]:,} | {100 * row['same_predictions']:.1f} "
            f"| {row['seconds_a_step'][0]:.3f} | {row['wall_ratio']:.2f} | {row['processor_ratio']:.2f} |"
        )
    lines += [f"\nNot alike, {row['strategy']}: {'; '.join(row['unlike'])}" for row in rows if row["unlike"]]
    return "\n".join(lines) + "\n"


def write_start(path: Path, seed: int, config: Any, rank: int) -> None:
    """Write what both sides start a seed's run from: the order of the rows in each epoch, the head, LoRA's A."""
    draw = np.random.default_rng(seed)
    width, limit = config.hidden_dim, config.hidden_dim**-0.5
    order = np.stack([draw.permutation(FLAGS.train_rows) for _ in range(FLAGS.epochs)])
    head = draw.normal(0.0, 0.02, (width, 2)).astype("float32")
    down = draw.uniform(-limit, limit, (config.num_layers, 2, width, rank)).astype("float32")
    np.savez(path, order=order, head=head, down=down)


@contextlib.contextmanager
def both_sides(settings: dict[str, Any], logs: Path) -> Iterator[Callable[[str, int], dict[str, Any]]]:
    """Start a process for each side; what is yielded has a side make the run of a seed."""
    logs.mkdir(exist_ok=True)
    children: dict[str, Child] = {}

    def ask(side: str, question: Callable[[Child], dict[str, Any]]) -> dict[str, Any]:
        try:
            return question(children[side])
        except ChildFailed as failure:
            raise TransformerError(f"{settings['strategy']}, {side}: {failure}") from None

    try:
        for side, worker in SIDES.items():
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

    check_flags(FLAG_RULES, FLAGS.flag_values_dict())
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


def define_flags() -> None:
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


if __name__ == "__main__":
    define_flags()
    run_command(main)
