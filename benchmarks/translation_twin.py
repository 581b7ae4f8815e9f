"""The same translator in torch: what a run of `examples/translate.py` reached, and what torch reaches on the same rows.

    python benchmarks/translation_twin.py --run=runs/en-de-1
    python benchmarks/translation_twin.py --run=runs/en-de-1 --epochs=5

`torch.nn.Transformer` of the run's shape, on its tokens, in batches of the same rows in the same order, with its rate, warmup,
smoothing and dropout, for as many epochs, and with the mean of the last quarter of the epochs' weights, as fairseq averages
checkpoints. Both are scored on the run's test pairs with as many beams; the table is left in `runs/benchmarks/translation`.
"""

import copy
import dataclasses
import json
import math
import time
from pathlib import Path
from typing import Any

import numpy as np
from absl import flags

from tftransformer import files
from tftransformer.errors import TransformerError, check_whole
from tftransformer.progress import say
from tftransformer.runs.commands import run_command
from tftransformer.runs.run_folder import RunFolder
from tftransformer.runs.translation_options import TranslationOptions

FLAGS = flags.FLAGS
flags.DEFINE_string("run", None, "Folder of a finished run of examples/translate.py.")
flags.DEFINE_integer("epochs", None, "Epochs of the twin; default: those of the run.")
flags.DEFINE_integer("threads", 2, "Threads of torch.")
flags.DEFINE_string("output_dir", "runs/benchmarks/translation", "Where the table goes.")


def build(options: TranslationOptions, vocabulary_size: int, pad: int) -> Any:
    import torch
    from torch import nn

    class Twin(nn.Module):
        """Token table shared by both sides and the output, sinusoidal positions, `nn.Transformer`."""

        def __init__(self) -> None:
            super().__init__()
            width = options.hidden_dim
            self.table = nn.Embedding(vocabulary_size, width, padding_idx=pad)
            nn.init.normal_(self.table.weight, std=0.02)
            self.dropout = nn.Dropout(options.dropout)
            self.body = nn.Transformer(
                width, options.num_heads, options.num_layers, options.num_layers, options.intermediate_dim,
                options.dropout, "relu", batch_first=True, norm_first=options.normalize_first,
            )  # fmt: skip
            for part in self.body.modules():
                if isinstance(part, nn.MultiheadAttention):
                    part.dropout = 0.0  # as in the run
            rates = torch.exp(-math.log(10_000.0) / width * 2 * torch.arange(width // 2))
            angles = torch.arange(1024)[:, None] * rates
            self.register_buffer("positions", torch.cat([angles.sin(), angles.cos()], dim=1), persistent=False)

        def embed(self, ids: Any) -> Any:
            scaled = self.table(ids) * math.sqrt(options.hidden_dim)
            return self.dropout(scaled + self.positions[: ids.shape[1]])

        def encode(self, source: Any) -> Any:
            return self.body.encoder(self.embed(source), src_key_padding_mask=source == pad)

        def decode(self, memory: Any, source: Any, target: Any) -> Any:
            mask = nn.Transformer.generate_square_subsequent_mask(target.shape[1]).isinf()
            x = self.body.decoder(
                self.embed(target), memory, tgt_mask=mask, tgt_is_causal=True, memory_key_padding_mask=source == pad
            )
            return x @ self.table.weight.T

        def forward(self, source: Any, target: Any) -> Any:
            return self.decode(self.encode(source), source, target)

    return Twin()


def train(model: Any, task: Any, examples: dict[str, Any], options: TranslationOptions, epochs: int) -> list[dict]:
    """Train in place, ending with averaged weights; the figures of each epoch."""
    import torch
    from torch.nn import functional

    from tftransformer.data.pipeline import token_batches

    rate = options.learning_rate or 4e-3
    optimizer = torch.optim.AdamW(model.parameters(), rate, betas=(0.9, 0.98), eps=1e-6, weight_decay=0.01)
    warmup = max(1, options.warmup)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min((step + 1) / (warmup + 1), math.sqrt(warmup / max(step, warmup)))
    )
    batches = token_batches(examples["train"], options.batch_size, seed=options.seed)
    pad = task.tokenizer.pad_id
    figures, kept = [], []
    for epoch in range(epochs):
        model.train()
        begun = time.monotonic()
        for x, y, _ in batches:
            ids, decoder = (torch.from_numpy(x[name].numpy()).long() for name in ("token_ids", "decoder_token_ids"))
            y = torch.from_numpy(np.where(x["decoder_padding_mask"].numpy(), y.numpy(), -100)).long()
            logits = model(ids, decoder)
            loss = functional.cross_entropy(logits.flatten(0, 1), y.flatten(), label_smoothing=options.label_smoothing)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
        seconds = time.monotonic() - begun
        if epoch >= epochs - max(1, epochs // 4):
            kept.append(copy.deepcopy(model.state_dict()))
        figures.append({"perplexity": perplexity(model, examples["validation"], pad), "seconds": seconds})
        say(f"torch, epoch {epoch + 1}/{epochs}: {seconds:.0f} s, val_perplexity {figures[-1]['perplexity']:.3f}")
    mean = {name: sum(state[name] for state in kept) / len(kept) for name in kept[0]}
    model.load_state_dict(mean)
    figures.append({"perplexity": perplexity(model, examples["validation"], pad), "seconds": 0.0})
    return figures


def perplexity(model: Any, examples: Any, pad: int) -> float:
    import torch
    from torch.nn import functional

    from tftransformer.data.pipeline import ordered_batches

    total, count = 0.0, 0
    model.eval()
    with torch.inference_mode():
        for x, y, weights in ordered_batches(examples, 64)[0]:
            ids, decoder = (torch.from_numpy(x[name].numpy()).long() for name in ("token_ids", "decoder_token_ids"))
            losses = functional.cross_entropy(
                model(ids, decoder).flatten(0, 1), torch.from_numpy(y.numpy()).long().flatten(), reduction="none"
            )
            total += float((losses * torch.from_numpy(weights.numpy()).flatten()).sum())
            count += int(weights.numpy().sum())
    return math.exp(total / count)


def write(model: Any, task: Any, examples: Any, beams: int) -> list[str]:
    """Beam search, one text at a time, without a cache: plain, and slow enough for a thousand texts."""
    import torch

    tokenizer, found = task.tokenizer, []
    model.eval()
    with torch.inference_mode():
        for row in range(len(examples)):
            ids = examples.take([row]).tokens.token_ids
            source = torch.tensor(np.asarray(ids))[None].long()
            memory = model.encode(source)
            live, done = [(0.0, [tokenizer.start_id])], []
            for length in range(1, task.target_length + 1):
                targets = torch.tensor([tokens for _, tokens in live])
                many = (len(live), -1, -1)
                logits = model.decode(memory.expand(*many), source.expand(len(live), -1), targets)[:, -1]
                scores, tokens = torch.log_softmax(logits, -1).topk(2 * beams)
                rows = [
                    (live[i][0] + float(s), [*live[i][1], int(t)])
                    for i in range(len(live))
                    for s, t in zip(scores[i], tokens[i])
                ]
                rows.sort(key=lambda one: -one[0])
                ended = [one for one in rows[:beams] if one[1][-1] == tokenizer.separator_id]
                done += [(score / length, tokens) for score, tokens in ended]
                live = [one for one in rows if one[1][-1] != tokenizer.separator_id][:beams]
                best = sorted((score for score, _ in done), reverse=True)[:beams]
                if len(best) == beams and best[-1] >= live[0][0] / length:
                    break
            best = max(done or [(score, [*tokens, 0]) for score, tokens in live])[1]
            found.append(tokenizer.decode(best[1:-1]).strip())
    return found


def main(_: list[str]) -> None:
    import torch

    from tftransformer.evaluation.translation import translation_report
    from tftransformer.runs.text_pairs import MODEL
    from tftransformer.runs.translation import read_splits
    from tftransformer.tasks.loading import load

    run = RunFolder.open(FLAGS.run, argument="run")
    known = {field.name for field in dataclasses.fields(TranslationOptions)}
    options = TranslationOptions(**{name: value for name, value in run.config.items() if name in known})
    ours = run.metrics["train"]["epochs"]
    epochs = len(ours) if FLAGS.epochs is None else FLAGS.epochs
    check_whole("epochs", epochs)
    torch.set_num_threads(FLAGS.threads)
    torch.manual_seed(options.seed)
    task, splits = load(run.model_path), read_splits(options)
    if task.target_tokenizer is not task.tokenizer:
        raise TransformerError("run must have one vocabulary for both sides, as the twin has")
    examples = {name: task.preprocess(split) for name, split in splits.present().items()}
    model = build(options, task.config.vocabulary_size, task.tokenizer.pad_id)
    say(
        f"torch: {sum(p.numel() for p in model.parameters()):,} parameters, ours {task.count_params():,}; {epochs} epochs"
    )
    figures = train(model, task, examples, options, epochs)
    say(f"torch translates {len(splits.test):,} texts …")
    written = write(model, task, examples["test"], options.num_beams)
    rows = run.translations_path.read_text("utf-8").splitlines()[1:]
    systems = {MODEL: [row.split("\t")[2] for row in rows], "torch": written}
    report = translation_report(systems, [target for _, target in splits.test.texts])
    reached = [one["val_perplexity"] for one in ours[: len(figures) - 1]]
    curve = [{"epoch": n + 1, "ours": a, "torch": b["perplexity"]} for n, (a, b) in enumerate(zip(reached, figures))]
    folder = Path(FLAGS.output_dir)
    folder.mkdir(parents=True, exist_ok=True)
    found = {"report": report.to_dict(), "val_perplexity": curve, "torch": figures, "run": str(run.path)}
    files.write_text(folder / "translation_twin.json", json.dumps(found, indent=2))
    lines = [f"epoch {one['epoch']}: val_perplexity ours {one['ours']:.3f}, torch {one['torch']:.3f}" for one in curve]
    text = "\n".join([*lines, f"torch, averaged: val_perplexity {figures[-1]['perplexity']:.3f}", "", str(report)])
    files.write_text(folder / "translation_twin.txt", f"{text}\n")
    print(text)


if __name__ == "__main__":
    run_command(main)
