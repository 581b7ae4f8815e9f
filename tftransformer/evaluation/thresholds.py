"""The threshold above which a label is given, where a text may have several."""

import numpy as np

from tftransformer.errors import TransformerError
from tftransformer.evaluation import intervals
from tftransformer.evaluation.arguments import checked, indicator


def tune_threshold(targets: np.ndarray, probabilities: np.ndarray, average: str = "micro") -> float:
    """The one threshold for all labels that maximises F1 on these (validation) texts.

    One global threshold, because a threshold per label overfits the few validation texts of a rare one.
    Candidates lie half-way between neighbouring probabilities, and at most 1,000 quantiles of them are tried;
    of equals the one nearest 0.5 wins.

    Args:
        targets: (B, C) of 0 and 1.
        probabilities: (B, C).
        average: "micro" (default: every decision counts alike) or "macro" (every label counts alike).

    Returns:
        A number between 0 and 1; 0.5 where no target is positive.

    Raises:
        TransformerError: Shapes or values that do not fit, or another average.

    Example:
        >>> tune_threshold([[1, 0], [0, 1]], [[.4, .1], [.2, .3]])
        0.25
    """
    if average not in ("micro", "macro"):
        raise TransformerError(f"average must be 'micro' or 'macro'; got {average!r}")
    probabilities = np.asarray(probabilities, np.float64)
    names = [""] * (probabilities.shape[1] if probabilities.ndim == 2 else 1)
    targets, probabilities, _ = checked(targets, probabilities, names, None)
    actual = indicator(targets, probabilities)
    if not actual.any():
        return 0.5
    values = np.unique(probabilities)
    if len(values) > 1001:
        values = np.unique(np.quantile(values, np.linspace(0, 1, 1001)))
    cuts = np.unique(np.concatenate([(values[1:] + values[:-1]) / 2, [0.5]]))
    counts = []
    for column in range(actual.shape[1]):
        everyone = np.sort(probabilities[:, column])
        positive = np.sort(probabilities[actual[:, column], column])
        counts.append(
            (
                len(positive) - np.searchsorted(positive, cuts),
                len(everyone) - np.searchsorted(everyone, cuts),
                np.full(len(cuts), len(positive)),
            )
        )
    hits, predicted, truly = (np.stack(part, -1).astype(np.float64) for part in zip(*counts, strict=True))
    scores = intervals.f1_scores(hits, predicted, truly, multi_label=True)[0 if average == "macro" else 1]
    best = cuts[scores >= scores.max() - 1e-12]
    return float(best[np.abs(best - 0.5).argmin()])
