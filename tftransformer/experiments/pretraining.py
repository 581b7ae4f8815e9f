"""Pretraining from integer shards to a preset folder: what `examples/pretrain.py train` does with its flags.

Runs on Keras's TensorFlow and JAX backends; on JAX nothing here needs TensorFlow.
"""

import dataclasses
import hashlib
from collections.abc import Mapping
from typing import Any

import keras
from keras import ops

from tftransformer import patterns
from tftransformer.checkpoints import Preset, load_preset, save_preset
from tftransformer.checkpoints.assign import assign
from tftransformer.config import TransformerConfig
from tftransformer.data.shards import Shards, open_shards
from tftransformer.data.tokenizers.spec import TokenizerSpec
from tftransformer.errors import TransformerError
from tftransformer.experiments.pretraining_curves import plot_curves
from tftransformer.experiments.pretraining_options import PretrainingOptions, training_batches
from tftransformer.experiments.pretraining_teacher import build_distillation
from tftransformer.experiments.pretraining_texts import say
from tftransformer.models.encoder import build_encoder
from tftransformer.training.pretraining import Pretrainer
from tftransformer.training.pretraining_log import read_log
from tftransformer.training.pretraining_loop import LOG, PretrainingLoop
from tftransformer.training.speed import forward_operations, matmul_peak


def pretrain(options: PretrainingOptions) -> dict[str, float]:
    """Build or load the encoder, train it, and leave a preset folder, with a log and curves beside it.

    Returns:
        The last figures of the training, see `PretrainingLoop.train`.

    Raises:
        TransformerError: Bad options, shards, preset or teacher, or a loss that is not finite.
    """
    options.check()
    shards = open_shards(options.shards)
    preset, config, encoder = _encoder(options, shards)
    started_from = _digest(patterns.addresses(encoder)) if preset else "none"
    distillation = build_distillation(options, shards, config, encoder)
    pretrainer = Pretrainer(
        encoder,
        config,
        options.objective,
        distillation,
        learning_rate=options.learning_rate,
        dtype=options.dtype,
    )
    if preset and pretrainer.head is not None:
        found = assign(pretrainer.addresses(), preset.source, preset.table, optional=r"lm_head/.*")
        say(
            "the preset has "
            + ("no masked-LM head" if found.fresh else "a masked-LM head, which goes on too")
        )
    teacher = _digest(patterns.addresses(distillation.teacher)) if distillation else "none"
    identity = options.identity(
        shards=shards.fingerprint, preset_weights=started_from, teacher_weights=teacher
    )
    loop = build_loop(options, shards, pretrainer, identity)
    options.run_folder.mkdir(parents=True, exist_ok=True)
    if options.resume:
        say(f"resumed after {loop.restore():,} steps")

    def snapshot(figures: Mapping[str, float]) -> None:
        _save(options, config, pretrainer.addresses(), shards.tokenizer, figures, preset)
        log = read_log(options.run_folder / LOG)
        plot_curves(options.run_folder / "curves.png", log)
        known = {"held-out perplexity": "heldout_perplexity", "held-out loss": "heldout_loss"}
        heldout = [f", {name} {figures[figure]:.4g}" for name, figure in known.items() if figure in figures]
        say(f"saved {options.output_dir} after {figures['step']:,.0f} steps{''.join(heldout)}")

    return loop.train(options.schedule(), snapshot)


def build_loop(
    options: PretrainingOptions, shards: Shards, pretrainer: Pretrainer, identity: Mapping[str, str]
) -> PretrainingLoop:
    """The training loop over a shard folder, with the machine's speed measured."""
    encoder, config, distillation = pretrainer.encoder, pretrainer.config, pretrainer.distillation
    operations = 3.0 * forward_operations(encoder, config, options.max_length)
    if pretrainer.head is not None:
        table = encoder.get_layer("embeddings").token
        operations += 6.0 * options.mask_rate * table.output_dim * (config.hidden_dim + table.input_dim)
    if distillation is not None:
        operations += forward_operations(distillation.teacher, distillation.config, options.max_length)
    dtype = "float32" if options.dtype == "float32" else "bfloat16"
    rows = options.batch_size * options.max_length
    peak = matmul_peak(rows, config.hidden_dim, config.intermediate_dim, dtype)
    say(
        f"{encoder.count_params():,} parameters; {operations / 1e6:.0f} million operations a token; "
        f"matrix products of {rows} x {config.hidden_dim} x {config.intermediate_dim} run at "
        f"{peak / 1e9:,.0f} GFLOP/s in {dtype}"
    )
    return PretrainingLoop(
        pretrainer,
        training_batches(options, shards),
        training_batches(options, shards, "heldout").first(options.heldout_batches),
        options.run_folder,
        identity,
        operations=operations,
        peak=peak,
    )


def _encoder(
    options: PretrainingOptions, shards: Shards
) -> tuple[Preset | None, TransformerConfig, keras.Model]:
    """The preset to go on from, if there is one, the config to save with, and the encoder to train."""
    preset = load_preset(options.preset) if options.preset else None
    if preset is None:
        config = TransformerConfig(
            options.family,
            vocabulary_size=len(shards.tokenizer.vocabulary),
            num_layers=options.num_layers,
            hidden_dim=options.hidden_dim,
            num_heads=options.num_heads,
            intermediate_dim=options.intermediate_dim,
            max_sequence_length=options.max_sequence_length,
            dropout=options.dropout,
        )
    else:
        config = preset.config
        if preset.tokenizer.vocabulary != shards.tokenizer.vocabulary:
            raise TransformerError(
                f"shards {options.shards} were made with another vocabulary than the preset's; prepare them with "
                f"--preset={options.preset}"
            )
    options.check_length(config.max_sequence_length)
    keras.utils.set_random_seed(options.seed)
    # Dropout has nothing to prevent where no text comes by often, and slows the loss's fall.
    encoder = build_encoder(config.replace(dropout=0.0, attention_dropout=0.0), dtype=options.dtype)
    if preset is not None:
        preset.load_into(encoder)
    return preset, config, encoder


def _digest(variables: Mapping[str, Any]) -> str:
    """A hash of weights: what they are counts, not where they were loaded from."""
    digest = hashlib.sha256()
    for name, variable in variables.items():
        digest.update(name.encode())
        digest.update(ops.convert_to_numpy(ops.cast(variable, "float32")).tobytes())
    return digest.hexdigest()[:16]


@dataclasses.dataclass(frozen=True)
class _Stored:
    """A tokenizer that is only passed on: to be saved it need not run."""

    stored: TokenizerSpec

    def spec(self) -> TokenizerSpec:
        return self.stored


def _save(
    options: PretrainingOptions,
    config: TransformerConfig,
    variables: Mapping[str, Any],
    tokenizer: TokenizerSpec,
    figures: Mapping[str, float],
    preset: Preset | None,
) -> None:
    # What the preset that was continued advises, and how it makes one vector of a text, still hold.
    advice = {} if preset is None else {k: v for k, v in preset.task.items() if k == "advice"}
    save_preset(
        options.output_dir,
        config=config,
        tokenizer=_Stored(tokenizer),
        variables=variables,
        pooling="mean" if preset is None else preset.pooling,
        task={**advice, "pretraining": {"options": options.plain(), "figures": dict(figures)}},
        dtype="float16",
        overwrite=True,
    )
