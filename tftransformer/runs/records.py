"""What a run's folder says about itself: reading run.json, telling the status, moving an old run aside."""

import contextlib
import datetime
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tftransformer import files
from tftransformer.checkpoints.folders import read_json
from tftransformer.errors import TransformerError

STATUS_FILE = "run.json"
METRICS_FILE = "metrics.json"
FORMAT = "tftransformer-run"
PREVIOUS = f".previous{files.PARTIAL_SUFFIX}"
# These say where and how often a run goes, not which run it is.
_NOT_IDENTITY = ("output_dir", "overwrite")


def now() -> str:
    """The time in UTC, to the second."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def next_free(root: Path, name: str) -> Path:
    """Make and return the next free `root/NAME-N`; two processes never get the same one."""
    stem = re.sub(r"[^\w.]+", "-", name).strip("-._")[:60] or "run"
    taken = re.compile(re.escape(stem) + r"-(\d+)")
    with files.disk_errors(root):
        root.mkdir(parents=True, exist_ok=True)
        numbers = [int(found[1]) for entry in root.iterdir() if (found := taken.fullmatch(entry.name))]
        number = max(numbers, default=0)
        while True:
            number += 1
            with contextlib.suppress(FileExistsError):
                (root / f"{stem}-{number}").mkdir()
                return root / f"{stem}-{number}"


def read_record(path: Path) -> dict[str, Any] | None:
    """What run.json says; None where there is none of this project."""
    if not (path / STATUS_FILE).is_file():
        return None
    record = read_json(path / STATUS_FILE)
    return record if record.get("format") == FORMAT else None


def status(path: Path, record: dict[str, Any]) -> str:
    """`running`, `finished`, `failed` or `interrupted`."""
    if record.get("status") == "failed":
        return "failed"
    if (path / METRICS_FILE).is_file():
        return "finished"
    try:
        files.Lock(path).release()
    except TransformerError:
        return "running"
    return "interrupted"


def identity(config: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that make a run this run and not another."""
    return {key: value for key, value in config.items() if key not in _NOT_IDENTITY}


def is_empty_folder(path: Path) -> bool:
    """Whether there is no file at any depth."""
    return path.is_dir() and not any(found.is_file() for found in path.rglob("*"))


def remove(path: Path) -> None:
    """Delete a file, a link or a folder; a missing one is fine."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def left_by(path: Path) -> list[Path]:
    """What a run has left in its folder beside its status: nothing, where it ended at once."""
    return [
        entry
        for entry in path.iterdir()
        if entry.name not in (STATUS_FILE, PREVIOUS) and not files.is_partial(entry.name) and not is_empty_folder(entry)
    ]


def put_back(path: Path) -> None:
    """Undo `set_aside` for a run that was killed before it had left anything."""
    if not left_by(path):
        restore(path)


def set_aside(path: Path) -> None:
    """Move everything in a run's folder into a hidden folder inside it."""
    aside = path / PREVIOUS
    remove(aside)
    with files.disk_errors(path):
        entries = list(path.iterdir())
        aside.mkdir()
        for entry in entries:
            entry.rename(aside / entry.name)


def restore(path: Path) -> None:
    """Undo `set_aside`: what came since is deleted."""
    aside = path / PREVIOUS
    if not aside.is_dir():
        return
    for entry in list(path.iterdir()):
        if entry != aside:
            remove(entry)
    with files.disk_errors(path):
        for entry in list(aside.iterdir()):
            entry.rename(path / entry.name)
        aside.rmdir()
