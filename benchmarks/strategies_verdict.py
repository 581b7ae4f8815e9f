"""What the runs of `strategies_parity.py` say: means and spreads, the judgement, the table."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

SIDES = ("ours", "theirs")
NEEDS = ("accuracy", "predicted", "ends", "parameters", "loss_before", "tokens", "steps")
# Steps whose time is not looked at: they trace, and allocate memory.
_WARMING = 3


def judge(ours: Sequence[float], theirs: Sequence[float]) -> dict[str, Any]:
    """Means, standard deviations over the seeds, the difference and what it says.

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
    """By side and seed the runs that the folder has."""
    from tftransformer.runs.resumable import finished_pieces  # loads TensorFlow

    return {side: finished_pieces(folder, stem(strategy, side), NEEDS) for side in SIDES}


def stem(strategy: str, side: str) -> str:
    """The start of the names of a side's files."""
    return f"{strategy.replace(':', '_')}-{side}"


def step_seconds(piece: dict[str, Any]) -> tuple[float, float]:
    """Wall and processor seconds of a run's step, the median."""
    steps = np.diff(np.array(piece["ends"]), axis=0)
    return tuple(np.median(steps[_WARMING:] if len(steps) > _WARMING else steps, axis=0))


def summary(folder: Path, strategy: str, seeds: int) -> dict[str, Any]:
    """A strategy's row, once both sides have a run of each seed: the judgement, the trained weights, the time of a step."""
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
    """In what two runs that should be alike from the start were not."""
    found = []
    for name, near in (("parameters", 0), ("tokens", 0), ("steps", 0), ("loss_before", 1e-4)):
        worst = max(pairs, key=lambda pair: abs(pair[0][name] - pair[1][name]))
        if abs(worst[0][name] - worst[1][name]) > near:
            found.append(f"{name.replace('_', ' ')} {worst[0][name]:.6g}, theirs {worst[1][name]:.6g}")
    return found


def table(rows: Sequence[dict[str, Any]]) -> str:
    """The rows in Markdown."""
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
