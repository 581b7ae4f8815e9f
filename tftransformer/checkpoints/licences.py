"""The licence that a checkpoint's folder states; nothing is guessed."""

import re
from pathlib import Path

from tftransformer.errors import TransformerError

_READ = 65536  # bytes; what is looked for stands at the start
_FRONT_MATTER = re.compile(r"\A---\s*\n(.*?)\n---\s*(?:\n|\Z)", re.DOTALL)
_FIELD = re.compile(r"^licen[sc]e:[ \t]*(\S.*)?$((?:\n[ \t]*-[ \t]*\S.*$)*)", re.MULTILINE)
_FILES = ("LICENSE", "LICENSE.txt", "LICENSE.md", "LICENCE", "LICENCE.txt", "LICENCE.md")


def find_licence(folder: Path) -> str | None:
    """The licence by its name and where that stands, such as "apache-2.0 (README.md)"; None where there is none.

    The model card's front matter (`license:` in README.md) comes first, then `license` in preset.json, then
    the first line of a LICENSE file.

    Args:
        folder: The checkpoint's.
    """
    for find in (_of_card, _of_preset, _of_file):
        if (found := find(folder)) is not None:
            return found
    return None


def _of_card(folder: Path) -> str | None:
    front = _FRONT_MATTER.search(_start(folder / "README.md"))
    field = _FIELD.search(front[1]) if front else None
    if field is None:
        return None
    stated = field[1] or ", ".join(line.strip(" \t-") for line in field[2].split("\n") if line.strip())
    name = _clean(stated.strip().strip("\"'[]"))
    return f"{name} (README.md)" if name else None


def _of_preset(folder: Path) -> str | None:
    from tftransformer.checkpoints.folders import read_optional_json

    try:
        stated = read_optional_json(folder / "preset.json")
    except TransformerError:  # describing says what it can; loading says what is wrong
        return None
    name = stated.get("license", stated.get("licence"))
    return f"{_clean(name)} (preset.json)" if isinstance(name, str) and name.strip() else None


def _of_file(folder: Path) -> str | None:
    for file in _FILES:
        line = next((line.strip(" \t#") for line in _start(folder / file).splitlines() if line.strip()), None)
        if line:
            return f"{_clean(line)} ({file})"
    return None


def _start(path: Path) -> str:
    try:
        with open(path, "rb") as file:
            return file.read(_READ).decode("utf-8", "replace").replace("\r\n", "\n")
    except OSError:
        return ""


def _clean(text: str) -> str:
    """One line that a terminal can show."""
    text = "".join(character for character in " ".join(text.split()) if character.isprintable())
    return text if len(text) <= 80 else text[:80] + "…"
