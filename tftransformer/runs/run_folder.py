"""The folder of a run: where it goes, whether it may go there, what lies in it, and whether it finished."""

import contextlib
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tftransformer import files
from tftransformer.checkpoints.folders import read_json
from tftransformer.errors import TransformerError, near_miss
from tftransformer.runs import records

LAYOUT = {
    "metrics_path": records.METRICS_FILE,
    "report_path": "report.txt",
    "history_path": "history.csv",
    "confusion_matrix_path": "confusion_matrix.png",
    "roc_path": "roc.png",
    "curves_path": "curves.png",
    "comparison_path": "comparison.png",
    "predictions_path": "predictions.csv",
    "model_path": "model",
    "saved_model_path": "saved_model/1",
    "tensorboard_path": "tensorboard",
    "checkpoint_path": "checkpoint",
}
_OURS = {records.STATUS_FILE, ".DS_Store"} | {name.split("/")[0] for name in LAYOUT.values()}


def record_in(path: Path) -> dict[str, Any] | None:
    """The record of the run in a folder that is a run's alone; None for an empty folder."""
    found = sorted(entry.name for entry in path.iterdir())
    foreign = [n for n in found if n not in _OURS and not files.is_partial(n)]
    if not found:
        return None
    record = records.read_record(path) if records.STATUS_FILE in found else None
    if record is None or foreign:
        what = f"{foreign[0]!r}" if foreign else "files that no run of this project wrote"
        raise TransformerError(
            f"output_dir must be new, empty or a run's own folder; {path} holds {what}, "
            "which overwriting would not delete"
        )
    return record


def refuse_finished(path: Path, record: Mapping[str, Any], overwrite: bool) -> None:
    """Raise a `TransformerError` for a finished run that is not to be overwritten."""
    if not overwrite and records.status(path, record) == "finished":
        raise taken(path, "a finished")


def taken(path: Path, which: str) -> TransformerError:
    """The error that says whose folder it is."""
    return TransformerError(
        f"output_dir must not hold {which} run; {path} does: pass overwrite=True to replace it, or another output_dir"
    )


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
    if existing == path and (record := record_in(path)) is not None:
        refuse_finished(path, record, overwrite)
        if records.status(path, record) == "running":
            raise TransformerError(
                f"output_dir must not hold a run that is under way; {path} is in use by another process"
            )


class RunFolder:
    """One run's folder. Made by `create` (to write) or `open` (to read), never directly.

    A run counts as finished when its metrics.json stands, which `finish` writes last. As a context manager a
    run that ends in an exception is marked failed, or interrupted where a signal ended it, and removed again where it
    had written nothing yet.

    Attributes:
        path: The folder.
        config: Every setting of the run, as strict JSON holds it.
        name: What `create` was told.
        begins_anew: Whether `create` cleared what an unfinished run of the same settings had left.

    Every file of the layout has a property: `metrics_path`, `report_path`, `history_path`,
    `confusion_matrix_path`, `roc_path`, `curves_path`, `predictions_path`, `model_path`, `saved_model_path`
    (saved_model/1), `tensorboard_path`, `checkpoint_path`.

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

        Call it after the data and the model have been checked. What is replaced is kept aside until the new run
        finishes or has left something, so that a run that fails at once destroys nothing.

        Args:
            output_dir: The folder; None takes the next free `root/NAME-N`, safe against a second process.
            name: What the run is called: the data set's name, say; characters unfit for a file become "-".
            overwrite: Replace a finished or a different run. Files that no run writes are never deleted.
            config: Every setting; NaN and infinities become null. An unfinished run of the same settings
                (apart from output_dir and overwrite) is cleared away, and begins anew.
            root: Parent of the default folders.

        Raises:
            TransformerError: The folder holds a finished or a different run and `overwrite` is off; it holds
                files that are not a run's, or another process is writing to it (`overwrite` does not help);
                the disk refused.
        """
        record = {
            "format": records.FORMAT,
            "version": 1,
            "name": name,
            "status": "running",
            "started": records.now(),
            "ended": None,
            "error": None,
            "config": files.plain(dict(config or {}), "config"),
        }
        if output_dir is None or not os.fspath(output_dir):
            return cls._fresh(records.next_free(Path(root), name), record)
        path = Path(output_dir)
        with files.disk_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                path.mkdir()
            except FileExistsError:
                if not path.is_dir():
                    raise TransformerError(f"output_dir must be a folder; {path} is a file") from None
            else:
                return cls._fresh(path, record)
        run = cls(path, record, files.Lock(path))
        try:
            replacing = run._make_room(path, record["config"], overwrite)
            try:
                run._write_status()
            except BaseException:
                if replacing:
                    records.restore(path)
                raise
        except BaseException:
            run.close()
            raise
        return run

    @classmethod
    def _fresh(cls, path: Path, record: dict[str, Any]) -> "RunFolder":
        run = cls(path, record, files.Lock(path))
        try:
            run._write_status()
        except BaseException:
            run.close()
            with contextlib.suppress(OSError):
                path.rmdir()
            raise
        return run

    def _make_room(self, path: Path, config: dict[str, Any], overwrite: bool) -> bool:
        """Set aside what may be replaced, and say whether there was something."""
        records.put_back(path)
        record = record_in(path)
        if record is None:
            return False
        refuse_finished(path, record, overwrite)
        if not overwrite and records.identity(record.get("config", {})) != records.identity(config):
            raise taken(path, "another")
        self.begins_anew = not overwrite
        records.set_aside(path)
        return True

    @classmethod
    def open(cls, path: str | os.PathLike | None, *, finished: bool = True, argument: str = "a run") -> "RunFolder":
        """Open a run to read its model and figures.

        Args:
            path: The run's folder.
            finished: Insist that the run finished. False also opens one that failed or was interrupted, whose
                best weights may stand in `model_path`.
            argument: What the user calls the path, for messages.

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
                siblings = [p.name for p in path.parent.iterdir() if (p / records.STATUS_FILE).is_file()]
            what = "is a file" if path.exists() else "does not exist"
            raise TransformerError(
                f"{argument} must be a folder; {path} {what}{near_miss(path.name, sorted(siblings))}"
            )
        record = records.read_record(path)
        if record is None:
            inside = next((p for p in path.absolute().parents if (p / records.STATUS_FILE).is_file()), None)
            below = sorted(str(p) for p in path.iterdir() if (p / records.STATUS_FILE).is_file())[-3:]
            hint = f"; did you mean {str(inside)!r}?" if inside else f"; it holds {', '.join(below)}" if below else ""
            raise TransformerError(
                f"{path} must be a run's folder, with a {records.STATUS_FILE} of this project in it{hint}"
            )
        run = cls(path, record)
        if finished and run.status != "finished":
            why = f": {record['error']}" if record.get("error") else ""
            raise TransformerError(f"{path} must hold a finished run; this one is {run.status}{why}")
        return run

    @property
    def config(self) -> dict[str, Any]:
        """Every setting of the run."""
        return self._record.get("config", {})

    @property
    def name(self) -> str:
        """What the run is called."""
        return self._record.get("name", self.path.name)

    @property
    def status(self) -> str:
        """`running`, `finished`, `failed` or `interrupted` (by a signal, or its process ended without a word)."""
        if self._lock is not None and self._record["status"] == "running":
            return "running"
        return records.status(self.path, self._record)

    @property
    def metrics(self) -> dict[str, Any]:
        """What metrics.json holds.

        Raises:
            TransformerError: It is missing or damaged.
        """
        return read_json(self.metrics_path)

    def finish(self, metrics: Mapping[str, Any]) -> None:
        """Write metrics.json, last and atomically, with the settings as `config`; let go of the folder.

        Args:
            metrics: The sections `test`, `train` and `data`; NaN and infinities become null.

        Raises:
            TransformerError: The disk refused, or a value has no JSON form.
        """
        complete = {**metrics, "config": self.config}
        complete = files.plain(complete, "metrics")
        self._write_status(status="finished", ended=records.now())
        files.write_json(self.metrics_path, complete)
        records.remove(self.path / records.PREVIOUS)
        self.close()

    def announcement(self) -> str:
        """Where the run writes to, for people."""
        if not self.begins_anew:
            return f"writing to {self.path}"
        return f"writing to {self.path}: an unfinished run of the same settings is cleared, training begins anew"

    def fail(self, reason: str, status: str = "failed") -> None:
        """Note that the run failed and why, and let go of the folder; what it has left stays.

        A run that has left nothing is removed, and what it was to overwrite is put back.

        Args:
            reason: For people; made one line.
            status: "failed", or "interrupted" where the run itself did nothing wrong.
        """
        if self._lock is None:
            return
        try:
            if records.left_by(self.path):
                records.remove(self.path / records.PREVIOUS)
                # One line, because the messages of other libraries run over many.
                self._write_status(status=status, ended=records.now(), error=" ".join(str(reason).split())[:500])
            elif (self.path / records.PREVIOUS).is_dir():
                records.restore(self.path)
            else:
                shutil.rmtree(self.path, ignore_errors=True)
        finally:
            self.close()

    def close(self) -> None:
        """Let go of the folder without a word about how the run ended."""
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def _write_status(self, **changes: Any) -> None:
        self._record.update(changes)
        files.write_json(self.path / records.STATUS_FILE, self._record)

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
