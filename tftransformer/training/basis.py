"""The basis of a student that exists already: how it sees its teacher, found from what both give.

A student that is distilled further must aim at the same directions as before. Its targets are the teacher's
vectors times a matrix with orthonormal columns, and that matrix is where the two sets of vectors fit best: an
orthogonal Procrustes problem (Schoenemann 1966). As the matrix is narrower than the teacher no formula solves
it; each step here solves a bound of it that touches where it stands, and so never makes the fit worse.
"""

from collections.abc import Iterable, Sequence

import numpy as np

from tftransformer.training.inheritance import LAST_OUTPUT_WEIGHT

STEPS = 50
# Share of the mean variance added where the first guess divides by the teacher's variances.
RIDGE = 1e-3


def fit_basis(pairs: Iterable[Sequence[tuple[np.ndarray, np.ndarray]]]) -> np.ndarray:
    """The basis (D_teacher, D) with orthonormal columns that turns a teacher's vectors into its student's.

    Args:
        pairs: For each of some batches, for each matched block: the teacher's vectors (W, D_teacher) and the
            student's (W, D) of the same words. The last block counts as much as it does in `shared_basis`.

    Example:
        >>> draw = np.random.default_rng(0)
        >>> basis = np.linalg.qr(draw.normal(size=(6, 3)))[0]
        >>> taught = draw.normal(size=(200, 6)) * [9, 5, 3, 2, 1, 1]
        >>> found = fit_basis([[(taught, taught @ basis)]])
        >>> bool(np.abs(found - basis).max() < 0.01)
        True
    """
    products, moments = {}, {}
    for blocks in pairs:
        for i, (taught, own) in enumerate(blocks):
            taught, own = taught.astype("float64"), own.astype("float64")
            products[i] = products.get(i, 0.0) + taught.T @ own
            moments[i] = moments.get(i, 0.0) + taught.T @ taught
    last = max(products)
    weights = {i: (LAST_OUTPUT_WEIGHT if i == last else 1.0) / np.trace(moments[i]) for i in moments}
    product = sum(weights[i] * products[i] for i in products)
    moment = sum(weights[i] * moments[i] for i in moments)
    ridge = RIDGE * np.trace(moment) / len(moment) * np.eye(len(moment))
    basis = _orthonormal(np.linalg.solve(moment + ridge, product))
    slack = np.linalg.eigvalsh(moment)[-1] * np.eye(len(moment)) - moment
    for _ in range(STEPS):
        basis = _orthonormal(product + slack @ basis)
    return basis.astype("float32")


def _orthonormal(matrix: np.ndarray) -> np.ndarray:
    """The matrix with orthonormal columns that is nearest."""
    left, _, right = np.linalg.svd(matrix, full_matrices=False)
    return left @ right
