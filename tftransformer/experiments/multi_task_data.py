"""The data of several tasks: folders beside each other, or the embedded sample in two parts."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tftransformer.data import loading
from tftransformer.data.cutting import subset
from tftransformer.data.split import Split, Splits
from tftransformer.errors import TransformerError, near_miss
from tftransformer.tasks.named_tasks import check_task_names

DEFAULT_TASKS = ("sst2", "ag_news", "mrpc")
# Where the columns cannot be told from the files themselves: AG News has no header row. The text is the description;
# titles, in the second column, are missing from copies of it.
_COLUMNS: dict[str, dict[str, Any]] = {"ag_news": {"label_column": 1, "text_columns": 3}}


def load_tasks(
    folder: str | None,
    tasks: Sequence[str] | None = None,
    *,
    train_examples: int | None = None,
    test_examples: int | None = None,
    seed: int = 0,
) -> dict[str, Splits]:
    """The splits of each task.

    Args:
        folder: Holds a folder, or a CSV, TSV or JSONL file, for each task. None: the embedded sample, of which two
            tasks are made, each with half of the departments.
        tasks: Names of folders or files (without their ending) in `folder`. None: SST-2, AG News and MRPC.
        train_examples: Most training rows of a task, chosen by the seed.
        test_examples: Likewise, test rows.
        seed: Of the choice, and of the splits that files lack.

    Raises:
        TransformerError: Names that clash, a task without data, or data that cannot be read.

    Example:
        >>> [(name, splits.train.labels) for name, splits in load_tasks(None).items()]
        [('inner', ('cardiology', 'dermatology', 'gastroenterology')), ('other', ('neurology', 'orthopaedics', 'psychiatry'))]
    """
    if folder is None:
        if tasks:
            raise TransformerError(
                f"tasks go with data, a folder that holds them; got {', '.join(tasks)} without it"
            )
        found = _sample_in_two(seed)
    else:
        names = check_task_names(tasks or DEFAULT_TASKS)
        found = {name: _load(Path(folder), name, seed) for name in names}
    return {name: _cut(name, splits, train_examples, test_examples, seed) for name, splits in found.items()}


def _load(folder: Path, name: str, seed: int) -> Splits:
    if not folder.is_dir():
        raise TransformerError(f"data must be a folder that holds the tasks; {folder} is none")
    entries = {path.stem if path.is_file() else path.name: path for path in sorted(folder.iterdir())}
    if name not in entries:
        raise TransformerError(f"{folder} holds no task {name!r}{near_miss(name, entries)}")
    return loading.load(entries[name], **_COLUMNS.get(name, {}), seed=seed)


def _sample_in_two(seed: int) -> dict[str, Splits]:
    splits = loading.load(loading.SAMPLE, seed=seed)
    labels = splits.train.labels
    half = len(labels) // 2
    return {
        "inner": Splits(*(_only(split, labels[:half]) for split in splits)),
        "other": Splits(*(_only(split, labels[half:]) for split in splits)),
    }


def _only(split: Split | None, labels: Sequence[str]) -> Split | None:
    if split is None:
        return None
    return split.take(row for row, target in enumerate(split.targets) if target in labels)


def _cut(name: str, splits: Splits, train: int | None, test: int | None, seed: int) -> Splits:
    if splits.test is None or not len(splits.test):
        raise TransformerError(f"task {name!r} needs test rows; its data have none")

    splits = splits if train is None else splits._replace(train=subset(splits.train, train, seed))
    return splits if test is None else splits._replace(test=subset(splits.test, test, seed))
