"""Data sets prepared by tensorflow-datasets, read from the disk."""

from __future__ import annotations

from pathlib import Path

from tftransformer.data.readers.columns import Table, choose
from tftransformer.data.readers.labelled import to_split
from tftransformer.data.split import Split
from tftransformer.errors import TransformerError, near_miss

SPLIT_NAMES = {
    "train": ("train",),
    "validation": ("validation", "val", "valid", "dev", "validation_matched"),
    "test": ("test", "test_matched"),
}


def read_tfds(
    name: str,
    *,
    data_dir: str | Path | None = None,
    download: bool = False,
    text_columns: list[str],
    label_column: list[str],
    label_columns: list[str],
    label_delimiter: str | None = None,
    numeric: bool = False,
) -> dict[str, Split]:
    """Reads the splits of a data set; class ids become the names of the classes.

    A split whose labels are all -1 (GLUE's test splits) has no labels and is left out.

    Args:
        name: `"NAME"` or `"NAME/CONFIG"`, with `:VERSION` if wanted.
        data_dir: Folder of the data sets; default TFDS_DATA_DIR, else tensorflow-datasets' own default.
        download: Whether to download and prepare the data set if it is not there.

    Raises:
        TransformerError: if the data set is unknown, not prepared, or has no usable columns.
    """
    builder = _prepared(name, data_dir, download)
    columns = (text_columns, label_column, label_columns)
    found: dict[str, Split] = {}
    for split, stored in _stored_splits(builder).items():
        table = _table(builder, name, stored)
        table, chosen = choose(table, *columns)
        unlabelled = chosen.label is not None and all(row[chosen.label] == "-1" for row in table.rows)
        if not unlabelled:
            found[split] = to_split(table, chosen, split, label_delimiter, numeric)
    if "train" not in found:
        raise TransformerError(
            f"tfds:{name} has no labelled split named train; it has {', '.join(builder.info.splits)}"
        )
    return found


def read_tfds_tables(name: str, *, data_dir: str | Path | None = None, download: bool = False) -> dict[str, Table]:
    """The splits of a data set as tables; arguments and errors as of `read_tfds`."""
    builder = _prepared(name, data_dir, download)
    return {split: _table(builder, name, stored) for split, stored in _stored_splits(builder).items()}


def _stored_splits(builder) -> dict[str, str]:
    """Return the data set's name of each of our splits that it has."""
    there = {split: next((n for n in names if n in builder.info.splits), None) for split, names in SPLIT_NAMES.items()}
    return {split: stored for split, stored in there.items() if stored is not None}


def _prepared(name: str, data_dir: str | Path | None, download: bool):
    import tensorflow_datasets as tfds

    try:
        builder = tfds.builder(name, data_dir=None if data_dir is None else str(data_dir))
    except tfds.core.registered.DatasetNotFoundError as error:
        known = tfds.list_builders(with_community_datasets=False)
        place = f" and is not stored in {data_dir}" if data_dir else ""
        raise TransformerError(
            f"tfds:{name} is not a data set of tensorflow-datasets{place}{near_miss(name.split('/')[0], known)}"
        ) from error
    except (ValueError, AssertionError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise TransformerError(f"tfds:{name}: {reason}") from error
    if not builder.info.splits:
        if not download:
            raise TransformerError(
                f"tfds:{name} is not prepared in {builder.data_dir}; pass download=True to fetch it,"
                " or data_dir=… where it is"
            )
        builder.download_and_prepare()
    return builder


def _table(builder, name: str, split: str) -> Table:
    """The split as a table with a column for each text, class, sequence of classes or scalar feature."""
    features = dict(builder.info.features)
    names = tuple(key for key, feature in features.items() if len(feature.shape or ()) <= 1)
    rows = [
        [_cell(features[key], example[key]) for key in names]
        for example in builder.as_dataset(split=split, shuffle_files=False).as_numpy_iterator()
    ]
    return Table(f"tfds:{name}[{split}]", names, rows, list(range(1, len(rows) + 1)))


def _cell(feature, value):
    classes = getattr(feature, "feature", feature)
    if getattr(value, "shape", ()) and len(value.shape) == 1:
        return [_cell(classes, item) for item in value]
    if hasattr(classes, "int2str") and getattr(classes, "num_classes", None):
        return classes.int2str(int(value)) if int(value) >= 0 else "-1"
    if isinstance(value, bytes):
        return value.decode("utf-8", errors="replace")
    return str(value)
