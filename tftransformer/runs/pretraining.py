"""Pretraining from text files to a preset folder: what the command `pretrain` does with its flags.

`pretrain` runs on Keras's TensorFlow and JAX backends; on JAX nothing in it needs TensorFlow.
"""

import hashlib
import itertools
import os
import random
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import ops

from tftransformer import patterns
from tftransformer.checkpoints import Preset, load_preset, save_preset
from tftransformer.checkpoints.assign import assign
from tftransformer.config import TransformerConfig
from tftransformer.data import plain_text, shard_writing
from tftransformer.data.shard_batches import ShardBatches
from tftransformer.data.shards import Shards, open_shards
from tftransformer.data.word_starts import special_ids
from tftransformer.errors import TransformerError
from tftransformer.evaluation.figures import COLOURS, GREY, new_figure, plain_axes, save
from tftransformer.finetuning.schedules import WarmedLinearSchedule
from tftransformer.models.encoder import build_encoder
from tftransformer.pretraining import callbacks, inheritance
from tftransformer.pretraining.batches import TrainingBatches, for_evaluate
from tftransformer.pretraining.callbacks import forward_operations, matmul_peak
from tftransformer.pretraining.distillation import HiddenStateMatching
from tftransformer.pretraining.pretrainer import MaskedLanguageModelling, Pretrainer, build_optimizer
from tftransformer.progress import Progress, say
from tftransformer.runs.commands.running import Terminated
from tftransformer.runs.pretraining_options import IDENTITY, PretrainingOptions, TextOptions
from tftransformer.text.spec import TokenizerSpec

# Longer rows only cost time where inherited weights are fitted.
SAMPLE_LENGTH = 40
# Batches on which a distillation measures the teacher's variances, and finds a student's projection.
MEASURED_BATCHES, PROJECTION_BATCHES = 16, 24
# Terms of the loss, their titles and units in curves.png.
TERMS = {
    "masked_lm": ("masked words", "nats a token"),
    "inner": ("inner blocks", "relative error"),
    "word": ("words", "relative error"),
    "sentence": ("texts", "relative error"),
}


def prepare_shards(options: TextOptions) -> dict[str, Any]:
    """Tokenise texts into a folder of shards.

    Returns:
        The contents of its meta.json.
    """
    options.check()
    paths = plain_text.find_text_files(options.texts)
    try:
        import tensorflow_text  # noqa: F401
    except ImportError:
        raise TransformerError(
            "prepare needs tensorflow and tensorflow-text, which cut texts into tokens; train does without them: "
            "prepare the shards on another machine"
        ) from None
    teacher = load_preset(options.teacher).tokenizer.build() if options.teacher else None
    survey = shard_writing.survey_texts(paths, options.heldout_fraction)
    say(f"{len(paths)} files, {survey.paragraphs:,} paragraphs")
    tokenizer = _tokenizer(options, paths, survey.paragraphs)
    with Progress(survey.sections, "tokenising", line_seconds=15.0) as bar:
        meta = shard_writing.write_shards(
            options.output_dir,
            paths,
            survey,
            tokenizer,
            teacher,
            about={"texts": [Path(path).name for path in options.texts], "seed": options.seed},
            overwrite=options.overwrite,
            progress=bar.update,
        )
    for part, counts in meta["parts"].items():
        say(f"{part}: " + ", ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in counts.items()))
    say(f"saved {options.output_dir}")
    return meta


def _tokenizer(options: TextOptions, paths: Sequence[Path], paragraphs: int) -> Any:
    if options.preset:
        return load_preset(options.preset).tokenizer.build()
    from tftransformer.text.vocabulary_training import train_wordpiece
    from tftransformer.text.wordpiece import WordPieceTokenizer

    pieces = options.vocabulary
    if not pieces:
        # All paragraphs, or a random part of them where they are too many to count all their words.
        fraction = options.vocabulary_paragraphs / paragraphs
        draw = random.Random(options.seed)
        lines = itertools.chain.from_iterable(map(plain_text.read_paragraphs, paths))
        sample = (line for line in lines if line and (fraction >= 1 or draw.random() < fraction))
        pieces = train_wordpiece(sample, options.vocabulary_size, lowercase=options.lowercase, progress=say)
    return WordPieceTokenizer(pieces, lowercase=options.lowercase)


def pretrain(options: PretrainingOptions) -> dict[str, float]:
    """Build or load the encoder, train it with `fit`, and leave a preset folder, with a log and curves beside it.

    Returns:
        The last figures of the training, see `RunLength`.

    Raises:
        TransformerError: Bad options, shards, preset or teacher, or a loss that is not finite.
    """
    options.check()
    shards = open_shards(options.shards)
    preset, config, encoder = _encoder(options, shards)
    hashes = {
        "shards": shards.fingerprint,
        "preset_weights": _digest(patterns.addresses(encoder)) if preset else "none",
        "teacher_weights": "none",
    }
    objectives: list[Any] = []
    if options.objective != "masked_lm":
        objectives.append(_distillation(options, shards, config, encoder))
        hashes["teacher_weights"] = _digest(patterns.addresses(objectives[0].teacher))
    if options.objective != "distillation":
        objectives.insert(0, MaskedLanguageModelling(encoder, config, options.dtype))
    model = Pretrainer(encoder, config, objectives)
    model.compile(build_optimizer(options.learning_rate))
    if preset and options.objective != "distillation":
        found = assign(model.addresses(), preset.source, preset.table, optional=r"lm_head/.*")
        head = "no masked-LM head" if found.newly_initialized else "a masked-LM head, which goes on too"
        say(f"the preset has {head}")
    return _train(options, shards, model, preset, hashes)


def _train(
    options: PretrainingOptions, shards: Shards, model: Pretrainer, preset: Preset | None, hashes: Mapping[str, str]
) -> dict[str, float]:
    folder = options.run_folder
    folder.mkdir(parents=True, exist_ok=True)

    def snapshot(figures: Mapping[str, float]) -> None:
        _save(options, model, shards.tokenizer, figures, preset)
        plot_curves(folder / "curves.png", callbacks.read_log(folder / "log.csv"))
        known = {"held-out perplexity": "heldout_perplexity", "held-out loss": "heldout_loss"}
        heldout = [f", {name} {figures[figure]:.4g}" for name, figure in known.items() if figure in figures]
        say(f"saved {options.output_dir} after {figures['step']:,.0f} steps{''.join(heldout)}")

    batches = TrainingBatches(training_batches(options, shards))
    heldout = for_evaluate(training_batches(options, shards, "heldout").first(options.heldout_batches))
    schedule = WarmedLinearSchedule(options.learning_rate, warmup=options.warmup)
    run = callbacks.RunLength(batches, schedule, options.steps, options.minutes, options.heldout_minutes)
    identity = {**hashes, **{name: str(getattr(options, name)) for name in IDENTITY}}
    identity["length_multiple"] = str(_length_multiple(options))
    checkpoint = callbacks.Checkpoint(folder / "checkpoint.npz", run, identity, options.snapshot_minutes, snapshot)
    if options.resume:
        say(f"resumed after {checkpoint.restore(model):,} steps")
    else:
        run.add_heldout(model.evaluate(heldout, verbose=0, return_dict=True))
    line = callbacks.ProgressLine(run, *_speed(options, model))
    log = callbacks.CSVLog(folder / "log.csv", run, run.figures["step"])
    if run.done >= 1.0:  # a finished run was resumed: its preset is written once more
        snapshot(run.figures)
        return dict(run.figures)
    try:
        model.fit(
            batches.for_fit(),
            epochs=callbacks.ENDLESS,
            steps_per_epoch=callbacks.ENDLESS,
            validation_data=heldout,
            callbacks=[run, line, log, checkpoint],
            shuffle=False,
            verbose=0,
        )
    except (KeyboardInterrupt, Terminated):
        checkpoint.save()
        raise
    return dict(run.figures)


def training_batches(options: PretrainingOptions, shards: Shards, part: str = "train") -> ShardBatches:
    """The batches that a run with these options trains on, or evaluates on (`part` "heldout")."""
    return ShardBatches(
        shards,
        part,
        sequence_length=options.sequence_length,
        batch_size=options.batch_size,
        teacher=options.objective != "masked_lm",
        packed=options.objective == "masked_lm",
        mask_rate=0.0 if options.objective == "distillation" else options.mask_rate,
        length_multiple=_length_multiple(options),
        seed=options.seed,
    )


def _length_multiple(options: PretrainingOptions) -> int:
    """Return the multiple that lengths of rows are rounded up to; packed rows all have the longest."""
    if options.objective == "masked_lm":
        return 1
    # XLA compiles again for each new length; TensorFlow's own kernels take any.
    return 8 if keras.backend.backend() == "tensorflow" else 32


def _encoder(options: PretrainingOptions, shards: Shards) -> tuple[Preset | None, TransformerConfig, keras.Model]:
    """The preset to go on from, if there is one, the config to save with, and the encoder to train."""
    preset = load_preset(options.preset) if options.preset else None
    if preset is None:
        names = (
            "num_layers", "hidden_dim", "num_heads", "intermediate_dim", "max_sequence_length", "dropout",
        )  # fmt: skip
        sizes = {name: getattr(options, name) for name in names}
        config = TransformerConfig(options.family, vocabulary_size=len(shards.tokenizer.vocabulary), **sizes)
    else:
        config = preset.config
        if preset.tokenizer.vocabulary != shards.tokenizer.vocabulary:
            raise TransformerError(
                f"shards {options.shards} were made with another vocabulary than the preset's; prepare them with "
                f"--preset={options.preset}"
            )
    if not 8 <= options.sequence_length <= config.max_sequence_length:
        raise TransformerError(
            f"sequence_length must be between 8 and max_sequence_length, {config.max_sequence_length}; got "
            f"{options.sequence_length}"
        )
    keras.utils.set_random_seed(options.seed)
    # Dropout has nothing to prevent where no text comes by often, and slows the loss's fall.
    encoder = build_encoder(config.replace(dropout=0.0, attention_dropout=0.0), dtype=options.dtype)
    if preset is not None:
        preset.load_into(encoder)
    return preset, config, encoder


def _distillation(
    options: PretrainingOptions, shards: Shards, config: TransformerConfig, encoder: keras.Model
) -> HiddenStateMatching:
    """The loss towards the teacher; a student without `preset` is given weights made from the teacher's, if wanted."""
    teacher = load_preset(options.teacher)
    if shards.teacher_tokenizer is None or teacher.tokenizer.vocabulary != shards.teacher_tokenizer.vocabulary:
        raise TransformerError(
            f"shards {options.shards} hold no ids of this teacher; prepare them with --teacher={options.teacher}"
        )
    distillation = HiddenStateMatching(teacher.build_encoder(dtype=options.teacher_dtype), teacher.config, config)
    if options.resume:
        return distillation  # the checkpoint has the projection and the measured variances

    def some(count: int) -> Iterator[Mapping[str, np.ndarray]]:
        return (batch for batch, _ in itertools.islice(training_batches(options, shards).stream(), count))

    if options.preset:
        student = Pretrainer(encoder, config, [distillation])
        distillation.fit_projection(student, some(PROJECTION_BATCHES))
    else:
        _inherit(options, shards, config, encoder, distillation)
    distillation.measure(some(MEASURED_BATCHES))
    return distillation


def _inherit(
    options: PretrainingOptions,
    shards: Shards,
    config: TransformerConfig,
    encoder: keras.Model,
    distillation: HiddenStateMatching,
) -> None:
    """Set the projection of a new student and, unless options say otherwise, its weights."""
    variables = patterns.addresses(distillation.teacher)
    unknown_id, pad_id, *_ = special_ids(shards.teacher_tokenizer)
    inherited, projection = inheritance.inherit(
        {name: ops.convert_to_numpy(ops.cast(v, "float32")) for name, v in variables.items()},
        distillation.config,
        config,
        _sample(options, shards, pad_id),
        inheritance.teacher_pieces(shards.tokenizer.vocabulary, shards.teacher_tokenizer.vocabulary, unknown_id),
        pad_id=pad_id,
        seed=options.seed,
        progress=say,
    )
    distillation.projection.assign(projection)
    if options.inherit:
        own = patterns.addresses(encoder)
        for name, array in inherited.items():
            own[name].assign(array)


def _sample(options: PretrainingOptions, shards: Shards, pad_id: int) -> np.ndarray:
    """(sample_texts, T) ids of the teacher's vocabulary."""
    length = min(SAMPLE_LENGTH, options.sequence_length)
    batches = ShardBatches(shards, sequence_length=length, batch_size=64, teacher=True, seed=options.seed)
    rows: list[np.ndarray] = []
    for batch, position in batches.stream():
        if len(rows) >= options.sample_texts or position.epoch:
            break
        ids = batch["teacher_token_ids"][batch["teacher_padding_mask"].any(axis=1)]
        rows += list(np.pad(ids, ((0, 0), (0, length - ids.shape[1])), constant_values=pad_id))
    return np.stack(rows[: options.sample_texts])


def _speed(options: PretrainingOptions, model: Pretrainer) -> tuple[float, float]:
    """Operations of a training step, a token, and those a second of the machine's matrix product."""
    encoder, config = model.encoder, model.config
    operations = 3.0 * forward_operations(encoder, config, options.sequence_length)
    for objective in model.objectives:
        if isinstance(objective, HiddenStateMatching):
            operations += forward_operations(objective.teacher, objective.config, options.sequence_length)
        else:
            table = encoder.get_layer("embeddings").token
            operations += 6.0 * options.mask_rate * table.output_dim * (config.hidden_dim + table.input_dim)
    dtype = "float32" if options.dtype == "float32" else "bfloat16"
    rows = options.batch_size * options.sequence_length
    peak = matmul_peak(rows, config.hidden_dim, config.intermediate_dim, dtype)
    say(
        f"{encoder.count_params():,} parameters; {operations / 1e6:.0f} million operations a token; "
        f"matrix products of {rows} x {config.hidden_dim} x {config.intermediate_dim} run at "
        f"{peak / 1e9:,.0f} GFLOP/s in {dtype}"
    )
    return operations, peak


def _digest(variables: Mapping[str, Any]) -> str:
    """A hash of weights: what they are counts, not where they were loaded from."""
    digest = hashlib.sha256()
    for name, variable in variables.items():
        digest.update(name.encode())
        digest.update(ops.convert_to_numpy(ops.cast(variable, "float32")).tobytes())
    return digest.hexdigest()[:16]


def _save(
    options: PretrainingOptions,
    model: Pretrainer,
    tokenizer: TokenizerSpec,
    figures: Mapping[str, float],
    preset: Preset | None,
) -> None:
    # What the preset that was continued advises, and how it makes one vector of a text, still hold.
    advice = {} if preset is None else {k: v for k, v in preset.task.items() if k == "advice"}
    save_preset(
        options.output_dir,
        config=model.config,
        tokenizer=tokenizer,
        variables=model.addresses(),
        pooling="mean" if preset is None else preset.pooling,
        task={**advice, "pretraining": {"options": options.plain(), "figures": dict(figures)}},
        dtype="float16",
        overwrite=True,
    )


def plot_curves(path: str | os.PathLike, log: Sequence[Mapping[str, float]]) -> None:
    """Draw each term of the loss against the tokens seen, in training and on held-out text.

    Args:
        path: The PNG.
        log: Rows as `read_log` gives them.
    """
    terms = [term for term in TERMS if any(f"heldout_{term}" in row for row in log)]
    figure = new_figure(4.2 * max(len(terms), 1), 3.4)
    for number, term in enumerate(terms):
        axes = figure.add_subplot(1, len(terms), number + 1)
        plain_axes(axes)
        for name, colour, label in ((term, GREY, "training"), (f"heldout_{term}", COLOURS[0], "held out")):
            points = [(row["tokens"] / 1e6, row[name]) for row in log if name in row]
            if points:
                axes.plot(*zip(*points, strict=True), color=colour, label=label, linewidth=1.6)
        title, unit = TERMS[term]
        axes.set_title(title, fontsize=10)
        axes.set_xlabel("million tokens", fontsize=9)
        axes.set_ylabel(unit, fontsize=9)
        axes.legend(fontsize=8, frameon=False)
    save(figure, path)
