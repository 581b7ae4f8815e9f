"""What lies in a run's folder, and whether a folder may become one."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tftransformer import files
from tftransformer.errors import TransformerError
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
    """The record of the run in a folder that is a run's alone; None for an empty folder.

    Raises:
        TransformerError: It holds something else.
    """
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
    """Refuse, before any work, a folder that `RunFolder.create` would refuse whatever the settings are.

    Args:
        output_dir: The folder, which need not exist; None, the next free one, is always free.
        overwrite: As for `RunFolder.create`.

    Raises:
        TransformerError: It is a file, holds other files than a run's, a finished run that is not to be overwritten or
            one that another process is at, or cannot be written.
    """
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
