"""The file of each split, and the splits that no file was given for: what loading of any kind of rows shares."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from tftransformer.data.readers.text_file import existing_path
from tftransformer.errors import TransformerError

SPLITS = ("train", "validation", "test")
# Words in the names of files, and the split that each means.
SPLIT_WORDS = {
    "train": "train", "training": "train",
    "validation": "validation", "valid": "validation", "val": "validation", "dev": "validation",
    "devel": "validation", "test": "test", "testing": "test",
}  # fmt: skip


def word_of_split(stem: str) -> str | None:
    """The split that the name of a file means; None where it has no word for one, or several.

    Example:
        >>> word_of_split("test_2016_flickr"), word_of_split("notes")
        ('test', None)
    """
    words = {word for word in re.split(r"[_\-.\s]+", stem.casefold()) if word in SPLIT_WORDS}
    return SPLIT_WORDS[words.pop()] if len(words) == 1 else None


def find_split_files(
    source: Any,
    given: Mapping[str, str | Path],
    *,
    samples: Mapping[str, str],
    forms: str,
    missing: str,
    split_of: Callable[[Path], str | None],
) -> dict[str, Path]:
    """The file of each split that has one.

    Args:
        source: A file, a folder or the name of a sample; None with a file for train.
        given: Files that were named by split; a path relative to the folder `source`, else to the working directory.
        samples: Folders of `tftransformer/data` by the names of samples.
        forms: Kinds of source that are allowed, for messages.
        missing: Text of the message about a folder without training rows, between its name and its files.
        split_of: From a file of a folder to the split that it is; None for others.

    Raises:
        TransformerError: There is no such file, none for the training rows, or two for one split.
    """
    if source is None:
        if "train" not in given:
            raise TransformerError("name the data: a file, a folder, 'sample', 'tfds:NAME', or train=PATH")
        return {name: existing_path(path) for name, path in given.items()}
    if not isinstance(source, (str, os.PathLike)):
        raise TransformerError(f"source must be {forms}; got {type(source).__name__}")
    if source in samples:
        source = Path(str(resources.files("tftransformer.data").joinpath(samples[source])))
    source = existing_path(source)
    if not source.is_dir():
        if "train" in given:
            raise TransformerError(f"source is the file {source} and train is {given['train']}; pass one")
        return {"train": source} | {name: existing_path(path) for name, path in given.items()}
    named = {name: (source / path if (source / path).exists() else existing_path(path)) for name, path in given.items()}
    found: dict[str, Path] = {}
    for path in sorted(source.iterdir()):
        name = split_of(path) if path.is_file() else None
        if name is None or name in named:
            continue
        if name in found:
            raise TransformerError(
                f"{source}: both {found[name].name} and {path.name} may be the {name} split; name the one"
                f" to use with {name}={path.name}"
            )
        found[name] = path
    found |= named
    if "train" not in found:
        files = sorted(entry.name for entry in source.iterdir() if entry.is_file())
        shown = ", ".join(files[:10]) + (", …" if len(files) > 10 else "")
        raise TransformerError(f"{source} {missing}; it has {shown or 'no files'}")
    return {name: found[name] for name in SPLITS if name in found}


def check_fractions(validation: float, test: float) -> None:
    """Refuse fractions that leave nothing to train on.

    Example:
        >>> check_fractions(0.1, 0.2)
    """
    for name, fraction in (("validation_fraction", validation), ("test_fraction", test)):
        if not 0 <= fraction < 1:
            raise TransformerError(f"{name} must be at least 0 and below 1; got {fraction}")
    if validation + test >= 1:
        raise TransformerError(
            "validation_fraction + test_fraction must be below 1, or nothing is left to train on;"
            f" got {validation} + {test}"
        )


def cut_missing(found: Mapping[str, Any], validation: float, test: float, seed: int, cut: Callable) -> tuple:
    """Cut the missing splits off the training rows; both fractions are of the rows as they came.

    Args:
        found: Splits by name.
        validation, test: Fractions; 0 cuts none.
        seed: Random seed.
        cut: From a split, a fraction, a seed and a name to what remains and what was cut off.

    Returns:
        train, and validation and test or None.
    """
    splits, left = dict(found), 1.0
    for name, fraction in (("test", test), ("validation", validation)):
        if name not in splits and fraction > 0:
            splits["train"], splits[name] = cut(splits["train"], fraction / left, seed, name)
            left -= fraction
    return tuple(splits.get(name) for name in SPLITS)
