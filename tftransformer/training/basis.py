"""The basis of a student that exists already: how it sees its teacher, found from what both give.

A student that is distilled further must aim at the same directions as before. Its targets are the teacher's
vectors times a matrix with orthonormal columns, and that matrix is where the two sets of vectors fit best:
the orthogonal Procrustes problem (Schoenemann 1966), solved by one singular value decomposition.
"""

from collections.abc import Iterable, Sequence

import numpy as np

from tftransformer.training.inheritance import LAST_OUTPUT_WEIGHT


def fit_basis(pairs: Iterable[Sequence[tuple[np.ndarray, np.ndarray]]]) -> np.ndarray:
    """The basis (D_teacher, D) with orthonormal columns that turns a teacher's vectors into its student's.

    Args:
        pairs: For each of some batches, for each matched block: the teacher's vectors (W, D_teacher) and the
            student's (W, D) of the same words. The last block counts as much as it does in `shared_basis`.

    Example:
        >>> draw = np.random.default_rng(0)
        >>> basis = np.linalg.qr(draw.normal(size=(6, 3)))[0]
        >>> taught = draw.normal(size=(2000, 6))
        >>> found = fit_basis([[(taught, taught @ basis)]])
        >>> bool(np.abs(found - basis).max() < 0.1)
        True
    """
    products, scales = {}, {}
    for blocks in pairs:
        for i, (taught, own) in enumerate(blocks):
            taught, own = taught.astype("float64"), own.astype("float64")
            products[i] = products.get(i, 0.0) + taught.T @ own
            scales[i] = scales.get(i, 0.0) + float(np.square(taught).sum())
    last = max(products)
    total = sum(products[i] / scales[i] * (LAST_OUTPUT_WEIGHT if i == last else 1.0) for i in products)
    left, _, right = np.linalg.svd(total, full_matrices=False)
    return (left @ right).astype("float32")
