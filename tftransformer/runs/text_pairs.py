"""One run from pairs of texts to a scored, saved and exported model that writes the second for the first.

Translations and summaries share the code of a run; the parts specific to each are a `PairRun`.
"""

import dataclasses
import textwrap
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from tftransformer import files
from tftransformer.config import TransformerConfig
from tftransformer.data.parallel import PairReport, check_pairs
from tftransformer.data.split import Split, Splits
from tftransformer.distribution.strategies import build_strategy
from tftransformer.errors import TransformerError
from tftransformer.evaluation import plots
from tftransformer.evaluation.written import WrittenReport
from tftransformer.finetuning.strategy import parse_strategy
from tftransformer.models import generation
from tftransformer.progress import say
from tftransformer.runs.pair_options import NETWORK, PairOptions
from tftransformer.runs.run_folder import RunFolder
from tftransformer.runs.text_training import MANY, fit_texts
from tftransformer.tasks.loading import load
from tftransformer.tasks.seq2seq import Seq2Seq
from tftransformer.tasks.writing import FROM_NOTHING
from tftransformer.text.byte_bpe_training import train_byte_bpe

_SHOWN = 3
# Characters of a source that the report shows.
_SOURCE = 600
_OF_CONFIG = [name for name in NETWORK if name not in ("vocabulary_size", "share_vocabulary")]
MODEL, BEFORE = "this model", "before this run"


@dataclasses.dataclass(frozen=True)
class PairRun:
    """Parts of a run that are specific to one command.

    Attributes:
        options: The dataclass of its options.
        load: The splits of pairs that options name.
        check: The report on anything odd about them, as `check_pairs`.
        baselines: The texts that other systems write for the test split, by the name of each.
        ready: Raises a `TransformerError`, before the training, if something that the scores need is not installed.
        score: The report on texts of systems, the first of which is reported on, for a split of this name.
        doing: Word for the model's work in a line of progress, such as "translating".
        written: The property of a run's folder that is the path of the written texts.
        pictures: Number of test pairs of which the cross-attention is drawn.
        best_epoch: Whether the run ends with the epoch of the lowest validation loss, and not with the last one.
    """

    options: type[PairOptions]
    load: Callable[[Any], Splits]
    baselines: Callable[[Splits], dict[str, list[str]]]
    ready: Callable[[], Any]
    score: Callable[[Mapping[str, Sequence[str]], Split, str], WrittenReport]
    doing: str
    written: str
    check: Callable[..., PairReport] = check_pairs
    pictures: int = 0
    best_epoch: bool = False


def train(kind: PairRun, options: PairOptions) -> WrittenReport:
    """Train, score, save and export; everything is left in the run's folder.

    Args:
        kind: The parts specific to the command.
        options: The run.

    Returns:
        The report on the test split, which is also printed.
    """
    options.check()
    kind.ready()
    before = None if options.init_from is None else kind.options.open_run(options.init_from, "init_from")
    keras.utils.set_random_seed(options.seed)
    splits = read_splits(kind, options)
    with build_strategy(options.distribution).scope():
        loaded = options.preset if before is None else before.model_path
        task = _compiled(_build(options, splits.train) if loaded is None else _continued(options, loaded), options)
    examples = {name: task.preprocess(split) for name, split in splits.present().items()}
    lengths = {
        name: (examples[name].tokens.full_lengths, _target_lengths(task, split))
        for name, split in splits.present().items()
    }
    data = kind.check(splits, lengths, (task.sequence_length, task.target_length))
    say(data)
    epochs = MANY if options.minutes else options.epochs or FROM_NOTHING["epochs"]
    updates = examples["train"].num_batches(options.batch_size)
    length = f"{options.minutes:g} minutes" if options.minutes else f"{epochs} epochs"
    say(
        f"{task.count_params():,} parameters; {length} of {updates:,} updates an epoch, {options.batch_size} pairs a batch"
    )
    config = options.as_config()
    with RunFolder.create(options.output_dir, options.run_name, overwrite=options.overwrite, config=config) as run:
        going_on = run.recover("checkpoint")
        say(f"going on with {run.path} behind its last finished epoch" if going_on else run.announcement())
        texts = {} if loaded is None else {BEFORE: task.generate(splits.test, verbose=True)}
        old = None if before is None else read_splits(kind, kind.options.from_config(before.config)).test
        old_before = None if old is None else task.generate(old)
        trained = fit_texts(
            task, examples, run, epochs=epochs, minutes=options.minutes, batch_size=options.batch_size, best=kind.best_epoch
        )  # fmt: skip
        # Before anything else can go wrong: the weights are what took the time.
        task.save_to_preset(run.model_path)
        systems = {MODEL: _written(kind, task, splits.test, run), **texts, **kind.baselines(splits)}
        report = kind.score(systems, splits.test, "test")
        told = [str(report)]
        metrics: dict[str, Any] = {"test": report.to_dict(), "train": trained, "data": data.to_dict()}
        metrics["perplexity"] = task.evaluate(examples["test"], verbose=0, return_dict=True).get("perplexity")
        if old is not None:
            kept = kind.score({MODEL: task.generate(old), BEFORE: old_before}, old, "the former run's test")
            told.append(str(kept))
            metrics["former_test"] = kept.to_dict()
        text = "\n\n".join([*told, str(data), *_shown(splits.test, systems[MODEL])])
        files.write_text(run.report_path, f"{text}\n")
        drawn = _draw(kind, task, splits.test, trained["epochs"], run)
        say("exporting saved_model/1/ …")
        task.export(run.saved_model_path)
        run.finish(metrics)
        left = (run.report_path, run.metrics_path, *drawn, getattr(run, kind.written))
        print(
            f"\n{text}\n\nThe run is in {run.path}: {', '.join(path.name for path in left)}, model/ and saved_model/1/."
        )
    return report


def write(kind: PairRun, run: str | Path, texts: Sequence[str], output: str | None = None) -> list[str]:
    """Return what a finished run's model writes, which is also printed, or written to a file, one text a line.

    Args:
        kind: The parts specific to the command.
        run: The run's folder.
        texts: Sources.
        output: A text file in place of the screen.
    """
    task = load(kind.options.open_run(run, "model").model_path)
    found = task.generate(list(texts), verbose=len(texts) > 64)
    if output is None:
        print("\n".join(found))
        return found
    files.write_text(output, "".join(f"{' '.join(text.split())}\n" for text in found))
    say(f"{len(found):,} texts are in {output}")
    return found


def read_splits(kind: PairRun, options: PairOptions) -> Splits:
    """The pairs that a run trains, validates and tests on."""
    say(f"reading {options.dataset} …")
    splits = kind.load(options)
    for name in ("validation", "test"):
        part = getattr(splits, name)
        if part is None or not len(part):
            raise TransformerError(f"a run needs a {name} split; the data have none: give {name}_fraction")
    if options.train_examples is not None and options.train_examples < len(splits.train):
        rows = np.random.default_rng(options.seed).permutation(len(splits.train))[: options.train_examples]
        splits = splits._replace(train=splits.train.take(np.sort(rows)))
    return splits


def _build(options: PairOptions, data: Split) -> Seq2Seq:
    sides = [list(side) for side in zip(*data.texts, strict=True)]
    learn = [sides[0] + sides[1]] if options.share_vocabulary else sides
    tokenizers = [train_byte_bpe(texts, options.vocabulary_size) for texts in learn]
    sizes = [tokenizer.vocabulary_size for tokenizer in tokenizers]
    say(f"{' and '.join(f'{size:,}' for size in sizes)} tokens learned from {len(data):,} pairs")
    config = TransformerConfig(
        vocabulary_size=sizes[0],
        decoder_vocabulary_size=sizes[-1],
        share_embeddings=options.share_vocabulary,
        max_sequence_length=max(options.longest.values()),
        attention_dropout=0.0,
        **{name: getattr(options, name) for name in _OF_CONFIG},
        dropout=options.dropout,
    )
    target = None if options.share_vocabulary else tokenizers[1]
    return Seq2Seq(config, tokenizers[0], target_tokenizer=target, **options.longest, **_chosen(options))


def _continued(options: PairOptions, folder: str | Path) -> Seq2Seq:
    say(f"loading {folder} …")
    return Seq2Seq.from_preset(folder, **options.longest, **_chosen(options), dropout=options.dropout)


def _compiled(task: Seq2Seq, options: PairOptions) -> Seq2Seq:
    task.apply(parse_strategy(options.strategy))
    task.compile(
        learning_rate=options.highest_rate,
        schedule=options.schedule,
        warmup=options.warmup,
        label_smoothing=options.label_smoothing,
    )
    return task


def _chosen(options: PairOptions) -> dict[str, Any]:
    """Arguments of a task, whatever its network is."""
    search: Any = generation.Greedy()
    if options.num_beams > 1:
        search = generation.BeamSearch(options.num_beams, length_penalty=options.length_penalty)
    return {"search": search, "seed": options.seed, "dtype": options.dtype}


def _target_lengths(task: Seq2Seq, split: Split) -> np.ndarray:
    ids = task.target_tokenizer.tokenize([target.encode() for _, target in split.texts])
    return ids.row_lengths().numpy() + 1


def _written(kind: PairRun, task: Seq2Seq, split: Split, run: RunFolder) -> list[str]:
    """Return what the model writes for a split, which is also written to a file."""
    say(f"{kind.doing} {len(split):,} texts of {split.name} …")
    written = task.generate(split, verbose=True)
    references = split.all_references()
    # Further references stand behind, where texts have some.
    most = max(map(len, references))
    head = ("source", "reference", "written", *(f"reference_{number}" for number in range(2, most + 1)))
    rows = [
        (source, known[0], text, *known[1:], *[""] * (most - len(known)))
        for (source, _), known, text in zip(split.texts, references, written, strict=True)
    ]
    lines = ["\t".join(" ".join(part.split()) for part in row) for row in [head, *rows]]
    files.write_text(getattr(run, kind.written), "\n".join(lines) + "\n")
    return written


def _shown(split: Split, written: Sequence[str]) -> list[str]:
    """A few texts of a split, with what the model wrote."""
    rows = zip(split.texts[:_SHOWN], split.all_references(), written, strict=False)
    return [
        "\n".join([textwrap.shorten(source, _SOURCE, placeholder=" …"), *(f"  {one}" for one in known), f"  > {text}"])
        for (source, _), known, text in rows
    ]


def _draw(
    kind: PairRun, task: Seq2Seq, split: Split, epochs: Sequence[Mapping[str, float]], run: RunFolder
) -> list[Path]:
    """The pictures of a run."""
    plots.plot_curves(run.curves_path, epochs)
    if not kind.pictures:
        return [run.curves_path]
    looks = [task.cross_attention(*pair) for pair in split.texts[: kind.pictures]]
    plots.plot_cross_attention(run.attention_path, [(s, t, a.mean(axis=(0, 1))) for s, t, a in looks])
    return [run.curves_path, run.attention_path]
