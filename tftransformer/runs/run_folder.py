"""The folder of a run: where it goes, whether it may go there, what lies in it, and whether it finished."""

import contextlib
import datetime
import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tftransformer import files
from tftransformer.checkpoints.folders import read_json
from tftransformer.errors import TransformerError, near_miss

STATUS_FILE = "run.json"
FORMAT = "tftransformer-run"
LAYOUT = {
    "metrics_path": "metrics.json",
    "report_path": "report.txt",
    "history_path": "history.csv",
    "confusion_matrix_path": "confusion_matrix.png",
    "roc_path": "roc.png",
    "confidence_path": "confidence.png",
    "curves_path": "curves.png",
    "scatter_path": "predictions.png",
    "comparison_path": "comparison.png",
    "predictions_path": "predictions.csv",
    "label_errors_path": "label_errors.csv",
    "translations_path": "translations.tsv",
    "summaries_path": "summaries.tsv",
    "attention_path": "cross_attention.png",
    "model_path": "model",
    "saved_model_path": "saved_model/1",
    "tensorboard_path": "tensorboard",
    "checkpoint_path": "checkpoint",
}
# Where what a run overwrites is kept until it has left something itself.
_PREVIOUS = f".previous{files.PARTIAL_SUFFIX}"
_OURS = {STATUS_FILE, ".DS_Store"} | {name.split("/")[0] for name in LAYOUT.values()}
# These say where and how often a run goes, not which run it is.
_NOT_IDENTITY = ("output_dir", "overwrite")


def check_free(output_dir: str | os.PathLike | None, overwrite: bool = False) -> None:
    """Refuse, before any work, a folder that `RunFolder.create` would refuse whatever the settings are."""
    if output_dir is None or not os.fspath(output_dir):
        return
    path = Path(output_dir)
    existing = next(place for place in (path, *path.absolute().parents) if place.exists())
    if not existing.is_dir():
        raise TransformerError(f"output_dir must be a folder; {existing} is a file")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise TransformerError(f"output_dir must be a folder that can be written; {existing} cannot")
    if existing == path and (record := _replaceable(path, overwrite)) is not None:
        if _status(path, record) == "running":
            raise TransformerError(
                f"output_dir must not hold a run that is under way; {path} is in use by another process"
            )


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


class RunFolder:
    """One run's folder. Made by `create` (to write) or `open` (to read), never directly.

    A run counts as finished when its metrics.json stands, which `finish` writes last. As a context manager a
    run that ends in an exception is marked failed, or interrupted where a signal ended it, and removed again where it
    had written nothing yet.

    Attributes:
        path: The folder.
        config: Every setting of the run, as strict JSON holds it.
        name: Name of the run.
        begins_anew: Whether `create` cleared what an unfinished run of the same settings had left.

    Every file of the layout has a property: `metrics_path`, `report_path`, `history_path`, `confusion_matrix_path`,
    `roc_path`, `confidence_path`, `curves_path`, `scatter_path`, `predictions_path`, `label_errors_path`, `translations_path`, `summaries_path`,
    `attention_path`, `model_path`, `saved_model_path` (saved_model/1), `tensorboard_path`, `checkpoint_path`.

    Example:
        >>> with RunFolder.create(name="tickets", config={"seed": 0}) as run:
        ...     _ = files.write_text(run.report_path, "...")
        ...     run.finish({"test": {"accuracy": 0.9}})
        >>> RunFolder.open(run.path).metrics["test"]["accuracy"]
        0.9
    """

    def __init__(self, path: Path, record: dict[str, Any], lock: files.Lock | None = None) -> None:
        self.path = path
        self.begins_anew = False
        self._record = record
        self._lock = lock

    @classmethod
    def create(
        cls,
        output_dir: str | os.PathLike | None = None,
        name: str = "run",
        *,
        overwrite: bool = False,
        config: Mapping[str, Any] | None = None,
        root: str | os.PathLike = "runs",
    ) -> "RunFolder":
        """Make the folder, lock it against other processes, and note in run.json that the run is under way.

        Call it after the data and the model have been checked. A replaced run is kept aside until the new one
        finishes or has left something, so that a run that fails at once destroys nothing.

        Args:
            output_dir: The folder; None takes the next free `root/NAME-N`, safe against a second process.
            name: Name of the run: the data set's, say; characters unfit for a file become "-".
            overwrite: Replace a finished or a different run. Files that no run writes are never deleted.
            config: Every setting; NaN and infinities become null. An unfinished run of the same settings
                (apart from output_dir and overwrite) is cleared away, and begins anew.
            root: Parent of the default folders.

        Raises:
            TransformerError: The folder holds a finished or a different run and `overwrite` is off; it holds
                files that are not a run's, or another process is writing to it (`overwrite` does not help);
                or it cannot be written.
        """
        record = {
            "format": FORMAT,
            "version": 1,
            "name": name,
            "status": "running",
            "started": _now(),
            "ended": None,
            "error": None,
            "config": files.plain(dict(config or {}), "config"),
        }
        if output_dir is None or not os.fspath(output_dir):
            path, fresh = next_free(Path(root), name), True
        else:
            path, fresh = Path(output_dir), True
            with files.disk_errors(path):
                path.parent.mkdir(parents=True, exist_ok=True)
                try:
                    path.mkdir()
                except FileExistsError:
                    fresh = False
            if not path.is_dir():
                raise TransformerError(f"output_dir must be a folder; {path} is a file")
        with contextlib.ExitStack() as undo:
            run = cls(path, record, undo.enter_context(files.Lock(path)))
            if fresh:
                undo.callback(_remove, path)
            elif run._make_room(overwrite):
                undo.callback(_restore, path)
            run._write_status()
            undo.pop_all()
        return run

    def _make_room(self, overwrite: bool) -> bool:
        """Set aside what may be replaced, and say whether there was something."""
        if not _left_by(self.path):
            # A run that was killed before it had left anything overwrote this.
            _restore(self.path)
        record = _replaceable(self.path, overwrite)
        if record is None:
            return False
        if not overwrite and _identity(record.get("config", {})) != _identity(self.config):
            raise _taken(self.path, "another")
        self.begins_anew = not overwrite
        _set_aside(self.path)
        return True

    @classmethod
    def open(cls, path: str | os.PathLike | None, *, finished: bool = True, argument: str = "a run") -> "RunFolder":
        """Open a run to read its model and figures.

        Args:
            path: The run's folder.
            finished: Insist that the run finished. False also opens one that failed or was interrupted, whose
                best weights may stand in `model_path`.
            argument: Name of the path for messages.

        Raises:
            TransformerError: None is given, no such folder (near misses are named), not a run's folder, a run that did not
                finish, or a run.json or metrics.json that cannot be read.
        """
        if path is None or not os.fspath(path):
            raise TransformerError(f"{argument} must be given, and must be a run's folder, such as runs/sample-1")
        path = Path(path)
        if not path.is_dir():
            siblings = []
            with contextlib.suppress(OSError):
                siblings = [p.name for p in path.parent.iterdir() if (p / STATUS_FILE).is_file()]
            what = "is a file" if path.exists() else "does not exist"
            raise TransformerError(
                f"{argument} must be a folder; {path} {what}{near_miss(path.name, sorted(siblings))}"
            )
        record = _read_record(path)
        if record is None:
            inside = next((p for p in path.absolute().parents if (p / STATUS_FILE).is_file()), None)
            below = sorted(str(p) for p in path.iterdir() if (p / STATUS_FILE).is_file())[-3:]
            hint = f"; did you mean {str(inside)!r}?" if inside else f"; it holds {', '.join(below)}" if below else ""
            raise TransformerError(f"{path} must be a run's folder, with a {STATUS_FILE} of this project in it{hint}")
        run = cls(path, record)
        if finished and run.status != "finished":
            why = f": {record['error']}" if record.get("error") else ""
            raise TransformerError(f"{path} must hold a finished run; this one is {run.status}{why}")
        return run

    @classmethod
    def open_model(cls, path: str | os.PathLike | None, argument: str = "model") -> "RunFolder":
        """Open a run to use its model: a finished run, or one that ended early and left the weights that it had.

        Args:
            path: The run's folder.
            argument: Name of the path for messages.

        Raises:
            TransformerError: As `open`, but for a run that ended early with a model in `model_path`.
        """
        run = cls.open(path, finished=False, argument=argument)
        usable = run.status in ("failed", "interrupted") and run.model_path.is_dir()
        return run if usable else cls.open(path, argument=argument)

    @property
    def config(self) -> dict[str, Any]:
        """Every setting of the run."""
        return self._record.get("config", {})

    @property
    def name(self) -> str:
        """Name of the run."""
        return self._record.get("name", self.path.name)

    @property
    def status(self) -> str:
        """`running`, `finished`, `failed` or `interrupted` (by a signal, or its process was killed)."""
        if self._lock is not None and self._record["status"] == "running":
            return "running"
        return _status(self.path, self._record)

    @property
    def metrics(self) -> dict[str, Any]:
        """Contents of metrics.json.

        Raises:
            TransformerError: It is missing or damaged.
        """
        return read_json(self.metrics_path)

    def finish(self, metrics: Mapping[str, Any]) -> None:
        """Write metrics.json, last and atomically, with the settings as `config`, and release the folder.

        Args:
            metrics: The sections `test`, `train` and `data`; NaN and infinities become null.

        Raises:
            TransformerError: The disk refused, or a value has no JSON form.
        """
        complete = {**metrics, "config": self.config}
        complete = files.plain(complete, "metrics")
        self._write_status(status="finished", ended=_now())
        files.write_json(self.metrics_path, complete)
        _remove(self.path / _PREVIOUS)
        self.close()

    def recover(self, relative: str) -> bool:
        """Take something over from the unfinished run of the same settings that `create` cleared away.

        Args:
            relative: Path of a file or folder in the run's folder, such as "checkpoint".

        Returns:
            Whether there was such a run, and it had left that.
        """
        left = self.path / _PREVIOUS / relative
        if not self.begins_anew or not left.exists():
            return False
        with files.disk_errors(self.path):
            left.rename(self.path / relative)
        return True

    def announcement(self) -> str:
        """Return the line that says where the run writes to."""
        if not self.begins_anew:
            return f"writing to {self.path}"
        return f"writing to {self.path}: an unfinished run of the same settings is cleared, training begins anew"

    def fail(self, reason: str, status: str = "failed") -> None:
        """Note that the run failed and why, and release the folder; what it has left stays.

        A run that has left nothing is removed, and what it was to overwrite is put back.

        Args:
            reason: For people; made one line.
            status: "failed", or "interrupted" where the run itself did nothing wrong.
        """
        if self._lock is None:
            return
        try:
            if _left_by(self.path):
                _remove(self.path / _PREVIOUS)
                # One line, because the messages of other libraries run over many.
                self._write_status(status=status, ended=_now(), error=" ".join(str(reason).split())[:500])
            elif (self.path / _PREVIOUS).is_dir():
                _restore(self.path)
            else:
                shutil.rmtree(self.path, ignore_errors=True)
        finally:
            self.close()

    def close(self) -> None:
        """Release the folder; its status stays as it is."""
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def _write_status(self, **changes: Any) -> None:
        self._record.update(changes)
        files.write_json(self.path / STATUS_FILE, self._record)

    def __enter__(self) -> "RunFolder":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        if error is not None:
            # The run's own error is what the user must see, not that a full disk kept it from being noted.
            with contextlib.suppress(TransformerError):
                # What is no `Exception` comes from outside: a signal, the end of the process.
                status = "failed" if isinstance(error, Exception) else "interrupted"
                self.fail(str(error) or kind.__name__, status)
        self.close()

    def __repr__(self) -> str:
        return f"RunFolder({str(self.path)!r}, {self.status})"


def _layout_property(relative: str) -> property:
    return property(lambda self: self.path / relative, doc=f"`{relative}` in the run's folder.")


for _property, _relative in LAYOUT.items():
    setattr(RunFolder, _property, _layout_property(_relative))


# What a run's folder says about itself, and what another run may replace.


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def _read_record(path: Path) -> dict[str, Any] | None:
    """Return the contents of run.json; None where there is none of this project."""
    if not (path / STATUS_FILE).is_file():
        return None
    record = read_json(path / STATUS_FILE)
    return record if record.get("format") == FORMAT else None


def _status(path: Path, record: Mapping[str, Any]) -> str:
    """`running`, `finished`, `failed` or `interrupted`."""
    if record.get("status") == "failed":
        return "failed"
    if (path / LAYOUT["metrics_path"]).is_file():
        return "finished"
    try:
        files.Lock(path).release()
    except TransformerError:
        return "running"
    return "interrupted"


def _replaceable(path: Path, overwrite: bool) -> dict[str, Any] | None:
    """The run.json of the run in a folder that is a run's alone, and may be replaced; None for an empty folder."""
    found = sorted(entry.name for entry in path.iterdir())
    if not found:
        return None
    foreign = [name for name in found if name not in _OURS and not files.is_partial(name)]
    record = _read_record(path)
    if record is None or foreign:
        what = f"{foreign[0]!r}" if foreign else "files that no run of this project wrote"
        raise TransformerError(
            f"output_dir must be new, empty or a run's own folder; {path} holds {what}, "
            "which overwriting would not delete"
        )
    if not overwrite and _status(path, record) == "finished":
        raise _taken(path, "a finished")
    return record


def _taken(path: Path, which: str) -> TransformerError:
    return TransformerError(
        f"output_dir must not hold {which} run; {path} does: pass overwrite=True to replace it, or another output_dir"
    )


def _identity(config: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that make a run this run and not another."""
    return {key: value for key, value in config.items() if key not in _NOT_IDENTITY}


def _remove(path: Path) -> None:
    """Delete a file, a link or a folder; a missing one is fine."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _left_by(path: Path) -> list[Path]:
    """Return what a run has left in its folder beside its status and empty folders: nothing, if it ended at once."""
    return [
        entry
        for entry in path.iterdir()
        if entry.name not in (STATUS_FILE, _PREVIOUS)
        and not files.is_partial(entry.name)
        and not (entry.is_dir() and not any(found.is_file() for found in entry.rglob("*")))
    ]


def _set_aside(path: Path) -> None:
    """Move everything in a run's folder into a hidden folder inside it."""
    aside = path / _PREVIOUS
    _remove(aside)
    with files.disk_errors(path):
        entries = list(path.iterdir())
        aside.mkdir()
        for entry in entries:
            entry.rename(aside / entry.name)


def _restore(path: Path) -> None:
    """Undo `_set_aside`: what came since is deleted."""
    aside = path / _PREVIOUS
    if not aside.is_dir():
        return
    for entry in list(path.iterdir()):
        if entry != aside:
            _remove(entry)
    with files.disk_errors(path):
        for entry in list(aside.iterdir()):
            entry.rename(path / entry.name)
        aside.rmdir()
