"""The data of a finished run, read again from where they were."""

from pathlib import Path

from tftransformer.data.cutting import subset
from tftransformer.data.folding import fold_record
from tftransformer.data.split import Split, Splits
from tftransformer.errors import TransformerError
from tftransformer.runs.classification import load_splits
from tftransformer.runs.documents import with_test_examples
from tftransformer.runs.fingerprints import fingerprints
from tftransformer.runs.options import DocumentOptions
from tftransformer.runs.recorded_options import options_of
from tftransformer.runs.run_folder import RunFolder


def recorded_splits(run: str | Path) -> Splits:
    """The splits that a finished run trained and reported on, those of the run it went on with included.

    Raises:
        TransformerError: They cannot be read any more, or are others by now.
    """
    folder = RunFolder.open(run)
    options = options_of(folder)
    try:
        splits = load_splits(options)
        if isinstance(options, DocumentOptions):
            splits = with_test_examples(splits, options)
        if options.init_from is not None:
            old = recorded_splits(options.init_from)
            splits = merged(old, without(splits, old))
    except TransformerError as error:
        raise TransformerError(f"the data of {folder.path} cannot be read again: {error}") from None
    recorded, found = folder.metrics.get("data", {}).get("fingerprints"), fingerprints(splits)
    if recorded is not None and recorded != found:
        changed = next(name for name in {**recorded, **found} if recorded.get(name) != found.get(name))
        raise TransformerError(
            f"the data of {folder.path} have changed since: what it names holds other {changed} rows now, and what it was "
            "trained on cannot be told from what it was not"
        )
    if options.train_examples is not None and options.train_examples < len(splits.train):
        splits = splits._replace(train=subset(splits.train, options.train_examples, options.seed))
    return splits


def without(splits: Splits, known: Splits) -> Splits:
    """The rows whose text, folded, stands nowhere in other splits; validation or test is None where none is left."""
    seen = {fold_record(text) for split in known.present().values() for text in split.texts}

    def new_rows(split: Split | None) -> Split | None:
        if split is None:
            return None
        return split.take(i for i, text in enumerate(split.texts) if fold_record(text) not in seen)

    train, *others = (new_rows(split) for split in splits)
    return Splits(train, *(split if split else None for split in others))


def merged(old: Splits, new: Splits) -> Splits:
    """The rows of both, split by split, the old ones first.

    Raises:
        TransformerError: One has single texts or labels, the other pairs or several labels a text.
    """

    def both(first: Split | None, second: Split | None) -> Split | None:
        if first is None or second is None:
            return second if first is None else first
        return Split(
            [*first.texts, *second.texts],
            [*first.targets, *second.targets],
            first.name,
            first.multi_label,
            source=" and ".join(dict.fromkeys(filter(None, (first.source, second.source)))),
            columns=first.columns,
        )

    kinds = [(splits.train.is_pair, splits.train.multi_label) for splits in (old, new)]
    if len(new.train) and kinds[0] != kinds[1]:
        words = [
            f"{'pairs' if pair else 'texts'} with {'several labels' if multi else 'one label'} each"
            for pair, multi in kinds
        ]
        raise TransformerError(f"new rows must be like the old ones, {words[0]}; got {words[1]}")
    return Splits(*(both(first, second) for first, second in zip(old, new)))
