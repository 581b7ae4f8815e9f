"""Paths in a run's record: absolute, so that what a run read is found again from any working directory.

What a run writes lies in its folder under fixed names, and is never looked for by a recorded path: the folder may be
moved.
"""

import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

# Data sets and presets that are no paths.
NAMED = re.compile(r"sample|auto|off|\w+://.*|tfds:.*")
_EMBEDDED = Path(__file__).resolve().parents[1] / "presets"


def with_absolute_paths(options: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    """Options in which what lies on the disk is named by its absolute path.

    Args:
        options: By name. A path inside the folder `dataset` stays relative to it, as it is read.
        names: Those that may be paths; what does not exist, such as a name on a hub, stays as it is.

    Example:
        >>> with_absolute_paths({"dataset": "sample", "output_dir": "runs/a"}, ["dataset"])
        {'dataset': 'sample', 'output_dir': 'runs/a'}
    """
    recorded = dict(options)
    dataset = Path(options.get("dataset") or "").expanduser()
    for name in names:
        value = options.get(name)
        if value is None or NAMED.fullmatch(value) or (name == "preset" and (_EMBEDDED / value).is_dir()):
            continue
        if (
            name.endswith("_path")
            and dataset.is_dir()
            and options.get("dataset")
            and (dataset / value).exists()
        ):
            continue
        path = Path(value).expanduser()
        if path.exists() or name == "activation_cache":  # which a first run makes
            recorded[name] = os.path.abspath(path)
    return recorded
