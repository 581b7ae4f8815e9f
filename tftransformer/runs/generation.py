"""One run from texts, or prompts with answers, to a scored, saved and exported language model, as the command `generate` runs it."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from tftransformer import files
from tftransformer.config import TransformerConfig
from tftransformer.data.chat import parse_chat, render_chat, shortened
from tftransformer.data.language_texts import load_language_texts
from tftransformer.data.split import Split, Splits
from tftransformer.distribution.strategies import build_strategy
from tftransformer.errors import TransformerError
from tftransformer.evaluation import plots
from tftransformer.evaluation.kneser_ney import KneserNey
from tftransformer.evaluation.language import LanguageReport, by_units
from tftransformer.finetuning.strategy import parse_strategy
from tftransformer.progress import say
from tftransformer.runs.generation_options import NETWORK, SEQUENCE_LENGTH, GenerationOptions
from tftransformer.runs.run_folder import RunFolder
from tftransformer.runs.text_training import MANY, fit_texts
from tftransformer.runs.text_writing import Writer
from tftransformer.tasks.causal_lm import CausalLM
from tftransformer.text.byte_bpe_training import train_byte_bpe

ORDER = 5
MODEL, BEFORE, BASELINE = "this model", "before this run", f"Kneser-Ney {ORDER}-grams"
_SAMPLES, _SAMPLE_WORDS, _SAMPLE_TOKENS = 4, 6, 60
_OF_CONFIG = [name for name in NETWORK if name != "vocabulary_size"]


def train(options: GenerationOptions) -> LanguageReport:
    """Train, score, save and export; everything is left in the run's folder.

    Args:
        options: The run.

    Returns:
        The report on the test split, which is also printed.
    """
    options.check()
    before = None if options.init_from is None else RunFolder.open(options.init_from, argument="init_from")
    keras.utils.set_random_seed(options.seed)
    splits = read_splits(options)
    with build_strategy(options.distribution).scope():
        loaded = options.preset if before is None else before.model_path
        task = _build(options, splits.train) if loaded is None else _continued(options, loaded)
        task.apply(parse_strategy(options.strategy))
        task.compile(
            learning_rate=options.learning_rate,
            schedule=options.schedule,
            warmup=options.warmup,
        )
    splits, data = fitting(splits, task)
    writer = Writer(task, options)
    examples = {name: task.preprocess(split) for name, split in splits.present().items()}
    epochs = MANY if options.minutes else options.epochs or task.recommended_hparams["epochs"]
    length = f"{options.minutes:g} minutes" if options.minutes else f"{epochs} epochs"
    say(
        f"{task.count_params():,} parameters; {length} of {len(examples['train']):,} rows, {options.batch_size} a batch"
    )
    name = Path(options.dataset or "texts").stem
    with RunFolder.create(options.output_dir, name, overwrite=options.overwrite, config=options.as_config()) as run:
        going_on = run.recover("checkpoint")
        say(f"going on with {run.path} behind its last finished epoch" if going_on else run.announcement())
        systems = {} if loaded is None else {BEFORE: _perplexities(task, splits)}
        old = None if before is None else _old_test(before, task, splits)
        old_before = None if old is None else task.perplexities(old)
        systems[BASELINE] = _kneser_ney(task, splits, examples)
        trained = fit_texts(
            task, examples, run, epochs=epochs, minutes=options.minutes, batch_size=options.batch_size, best=True
        )
        # Before anything else can go wrong: the weights are what took the time.
        task.save_to_preset(run.model_path)
        systems = {MODEL: _perplexities(task, splits), **systems}
        reports = {part: _report(part, splits, examples, systems) for part in ("validation", "test")}
        metrics: dict[str, Any] = {part: report.to_dict() for part, report in reports.items()}
        metrics |= {"train": trained, "data": data}
        told = [str(report) for report in reports.values()]
        if old is not None:
            kept = {MODEL: task.perplexities(old), BEFORE: old_before}
            tokens = counted(task.preprocess(old))
            metrics["former_test"] = (
                report := LanguageReport("the former run's test", len(old), tokens, kept)
            ).to_dict()
            told.append(str(report))
        told += [f"The weights are those of epoch {trained['best_epoch']}, of the lowest validation loss."]
        told += ["Samples:", *_samples(writer, splits.test)]
        text = "\n\n".join(told)
        files.write_text(run.report_path, f"{text}\n")
        plots.plot_curves(run.curves_path, trained["epochs"])
        say("exporting saved_model/1/ …")
        task.export(run.saved_model_path)
        run.finish(metrics)
        print(f"\n{text}\n\nThe run is in {run.path}: report.txt, metrics.json, curves.png, model/ and saved_model/1/.")
    return reports["test"]


def read_splits(options: GenerationOptions) -> Splits:
    """The texts, or pairs, that a run trains, validates and tests on."""
    say(f"reading {options.dataset} …")
    fractions = {name: getattr(options, name) for name in ("validation_fraction", "test_fraction")}
    splits = load_language_texts(options.dataset, unit=options.unit, seed=options.seed, **fractions)
    for name in ("validation", "test"):
        part = getattr(splits, name)
        if part is None or not len(part):
            # A file without blank lines is one paragraph.
            lines = ", or unit=line" if options.unit == "paragraph" else ""
            raise TransformerError(
                f"a run needs a {name} split; the data have none, or too few texts: give a file, or {name}_fraction{lines}"
            )
    if options.train_examples is not None and options.train_examples < len(splits.train):
        rows = np.random.default_rng(options.seed).permutation(len(splits.train))[: options.train_examples]
        splits = splits._replace(train=splits.train.take(np.sort(rows)))
    return splits


def fitting(splits: Splits, task: CausalLM) -> tuple[Splits, dict[str, Any]]:
    """Splits whose pairs fit in the task's rows, and what was read: by split the numbers of texts, shortened and left out.

    Of a chat the oldest turns go, as they do when it answers. A pair that is too long even so is left out: cut to fit, it
    would teach answers that end in the middle.
    """
    found, data = {}, {}
    for name, split in splits.present().items():
        texts, changed, left_out = split.texts, 0, 0
        if split.is_pair:
            shorter = [
                _shorter(pair, long, task) for pair, long in zip(split.texts, _too_long(split, task), strict=True)
            ]
            texts = [pair for pair in shorter if pair is not None]
            left_out = len(shorter) - len(texts)
            changed = sum(new not in (None, pair) for new, pair in zip(shorter, split.texts, strict=True))
        if not texts:
            raise TransformerError(
                f"sequence_length must have room for pairs of the {name} split; none fits in {task.sequence_length} tokens"
            )
        data[name] = {"texts": len(texts), "shortened": changed, "left_out": left_out}
        found[name] = Split(texts, None, name, source=split.source)
        kind = "answers" if split.is_pair else "texts"
        odd = f"; {changed:,} without their oldest turns" if changed else ""
        say(f"{name}: {len(texts):,} {kind}{odd}" + (f"; {left_out:,} too long, left out" if left_out else ""))
    return splits._replace(**found), data


def _too_long(split: Split, task: CausalLM) -> np.ndarray:
    """(B,) bool: which pairs, with the special tokens around them, are longer than the task's rows."""
    lengths = [task.tokenizer.tokenize(list(side)).row_lengths().numpy() for side in zip(*split.texts, strict=True)]
    return sum(lengths) + 2 + task.preprocessor.pack.pair_separators > task.sequence_length


def _shorter(pair: tuple[str, str], long: bool, task: CausalLM) -> tuple[str, str] | None:
    """A pair without as many of its oldest turns as it takes to fit; None where its last one alone is too long."""
    if not long:
        return pair
    history, answer = pair
    left = shortened(parse_chat(history), lambda text: not _too_long(Split([(text, answer)]), task)[0])
    return None if left is None else (render_chat(left), answer)


def counted(examples: Any) -> int:
    """The number of tokens of examples that are foreseen."""
    return int((examples.targets.items.values >= 0).sum())


def _build(options: GenerationOptions, data: Split) -> CausalLM:
    texts = [side for text in data.texts for side in ((text,) if isinstance(text, str) else text)]
    tokenizer = train_byte_bpe(texts, options.vocabulary_size)
    say(f"{tokenizer.vocabulary_size:,} tokens learned from {len(data):,} texts")
    config = TransformerConfig(
        vocabulary_size=tokenizer.vocabulary_size,
        max_sequence_length=options.sequence_length or SEQUENCE_LENGTH,
        attention_dropout=0.0,
        dropout=options.dropout,
        **{name: getattr(options, name) for name in _OF_CONFIG},
    )
    return CausalLM(config, tokenizer, search=Writer.search_of(options), seed=options.seed, dtype=options.dtype)


def _continued(options: GenerationOptions, folder: str | Path) -> CausalLM:
    say(f"loading {folder} …")
    changes = {"search": Writer.search_of(options), "seed": options.seed, "dtype": options.dtype}
    changes |= {"dropout": options.dropout, "text_pairs": None}  # a model of texts may learn to answer
    if options.sequence_length is not None:
        changes["sequence_length"] = options.sequence_length
    return CausalLM.from_preset(folder, **changes)


def _perplexities(task: CausalLM, splits: Splits) -> dict[str, dict[str, float]]:
    return {name: task.perplexities(getattr(splits, name)) for name in ("validation", "test")}


def _kneser_ney(task: CausalLM, splits: Splits, examples: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """The baseline's perplexities of the same tokens."""
    say(f"the baseline, {BASELINE} of the same tokens …")
    tokens = {name: _whole(task, split, examples[name]) for name, split in splits.present().items()}
    model = KneserNey(tokens["train"], task.config.vocabulary_size, ORDER)
    found = {}
    for name in ("validation", "test"):
        scores = model.log_probabilities(tokens[name])
        split = getattr(splits, name)
        if split.is_pair:
            # Of a row, all but the first token are foreseen; of these the answer's count.
            ends = np.cumsum(examples[name].lengths) - 1
            scores = scores[np.delete(examples[name].targets.items.values, ends) >= 0]
        texts = [text if isinstance(text, str) else text[1] for text in split.texts]
        found[name] = by_units(float(scores.sum()), len(scores), texts)
    return found


def _whole(task: CausalLM, split: Split, examples: Any) -> list[np.ndarray]:
    """The tokens of texts without a start and with their ends; of pairs, those of both."""
    if split.is_pair:
        return [row[1:] for row in np.split(examples.tokens.token_ids, examples.tokens.row_splits[1:-1])]
    ids = task.tokenizer.tokenize(split.texts)
    end = [task.tokenizer.separator_id]
    return [np.concatenate([row, end]) for row in np.split(ids.values.numpy(), ids.row_splits.numpy()[1:-1])]


def _report(name: str, splits: Splits, examples: Mapping[str, Any], systems: Mapping[str, Any]) -> LanguageReport:
    found = {system: figures[name] for system, figures in systems.items()}
    return LanguageReport(name, len(getattr(splits, name)), counted(examples[name]), found)


def _old_test(run: RunFolder, task: CausalLM, new: Splits) -> Split | None:
    """The test texts of the run that goes on, read again; None where they are of another kind than the new ones."""
    known = {field.name for field in dataclasses.fields(GenerationOptions)}
    options = GenerationOptions(**{name: value for name, value in run.config.items() if name in known})
    found = read_splits(options)
    if found.test.is_pair != new.test.is_pair:
        say(f"the test texts of {run.path} are of another kind, and not scored again")
        return None
    return fitting(found, task)[0].test


def _samples(writer: Writer, split: Split) -> list[str]:
    """Return what the model writes for the first of the test texts: answers, or continuations of their first words."""
    say("writing samples …")
    chosen: Sequence = split.texts[:_SAMPLES]
    if split.is_pair:
        written = writer.write([history for history, _ in chosen], most=_SAMPLE_TOKENS)
        return [f"{h}\n  {a}\n  {w[0]}" for (h, a), w in zip(chosen, written, strict=True)]
    beginnings = [text for text in split.texts if len(text.split()) > 2 * _SAMPLE_WORDS][:_SAMPLES] or chosen
    prompts = [_beginning(writer, text) for text in beginnings]
    written = writer.write(prompts, most=_SAMPLE_TOKENS)
    return [f"{prompt} |{found[0]}" for prompt, found in zip(prompts, written, strict=True)]


def _beginning(writer: Writer, text: str) -> str:
    """A text's first words that leave half of the window."""
    words = text.split()[:_SAMPLE_WORDS]
    while words and writer.prompt_length(" ".join(words)) > writer.task.sequence_length // 2:
        words.pop()
    return " ".join(words)
