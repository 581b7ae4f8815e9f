"""The last weights of a run by the recipe against those that validated best, and heads that start from solved or random numbers.

    python benchmarks/recipe_endings.py --data=DATA --minilm=FOLDER

Arms: `solved`, from a head that is solved for; `random`, the same updates from a random head; `half`, solved and with half as many
epochs. Every run validates after each epoch (ten times at most), on 500 rows that nobody trains on, and is tested with its last weights, with
those of the lowest validation loss and with those of the best validation macro-F1. Each run is a line of `--out`; what
stands there is not done again. The table has means over draws, and for the differences their standard errors.
"""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
from absl import flags
from defaults_sets import SETS, Rows, draw_rows, read_set

from tftransformer.data.split import Split
from tftransformer.data.splitting import subset
from tftransformer.runs.commands import run_command

FLAGS = flags.FLAGS
flags.DEFINE_string("data", None, "A folder with a folder for each data set.", required=True)
flags.DEFINE_string("minilm", None, "A Hugging Face folder of all-MiniLM-L6-v2.", required=True)
flags.DEFINE_list(
    "cells", ["sst2:200", "clinc6:200", "medical_abstracts:200", "sst2:1000", "mrpc:1000", "clinc150:5000"],
    "SET:ROWS; clinc6 has six labels of clinc150, others with each seed.",
)  # fmt: skip
flags.DEFINE_list("arms", ["solved", "random"], "Some of solved, random and half.")
flags.DEFINE_integer("seeds", 3, "Draws of the rows, each with its own seed of the training.")
flags.DEFINE_string("out", "benchmarks/results/recipe_endings.jsonl", "The runs, a line each.")
_HELD_OUT, _TESTED = 500, 1000


def rows_of(name: str, size: int, seed: int) -> tuple[Split, Split, Split]:
    """Draw training, validation and test rows."""
    whole = read_set(FLAGS.data, "clinc150" if name == "clinc6" else name)
    if name == "clinc6":
        chosen = set(np.random.default_rng(seed).permutation(whole.train.labels)[:6])
        whole = Rows(_of_labels(whole.train, chosen), _of_labels(whole.test, chosen))
        train = subset(whole.train, size, seed)
    else:
        train = draw_rows(FLAGS.data, name, size, seed).train
    used = set(map(str, train.texts))
    known = zip(whole.train.texts, whole.train.targets, strict=True)
    rest = [i for i, (text, target) in enumerate(known) if str(text) not in used and target in train.labels]
    return train, subset(whole.train.take(rest), _HELD_OUT, seed), subset(whole.test, _TESTED, 0)


def _of_labels(split: Split, labels: set[str]) -> Split:
    return split.take([i for i, target in enumerate(split.targets) if target in labels])


def train(name: str, size: int, arm: str, seed: int) -> dict[str, Any]:
    """Make one run; return its figures on the test rows by ending."""
    import keras

    import tftransformer as tt
    from tftransformer.training.planning import recipe_for

    keras.backend.clear_session()
    keras.utils.set_random_seed(seed)
    split, held_out, test = rows_of(name, size, seed)
    length = SETS["clinc150" if name == "clinc6" else name].length
    classifier = tt.TextClassifier.from_preset(
        FLAGS.minilm, labels=split.labels, sequence_length=length, text_pairs=split.is_pair, seed=seed
    )
    recipe = recipe_for(classifier, len(split), fresh_head=True)
    if not recipe.epochs:
        return {"skipped": str(recipe)}
    start = None if arm == "random" else "head_start"
    epochs = max(1, recipe.epochs // 2) if arm == "half" else recipe.epochs
    recipe = dataclasses.replace(recipe, start=start, epochs=epochs)
    validation, tested = classifier.preprocess(held_out), classifier.preprocess(test)
    best: dict[str, tuple[float, int, list]] = {}

    class Look(keras.callbacks.Callback):
        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            if "val_loss" not in (logs or {}):
                return
            for ending, figure in (("loss", -logs["val_loss"]), ("macro_f1", logs["val_macro_f1"])):
                if ending not in best or figure > best[ending][0]:
                    weights = [keras.ops.convert_to_numpy(weight) for weight in classifier.trainable_variables]
                    best[ending] = (figure, epoch + 1, weights)

    classifier.compile(learning_rate=recipe.learning_rate, **({} if recipe.start else {"fresh_multiplier": 5.0}))
    history = classifier.fit(split, epochs=recipe, validation_data=validation, callbacks=[Look()], verbose=0).history
    figures = {"last": _figures(classifier, tested, recipe.epochs)}
    for ending, (_, epoch, weights) in best.items():
        for variable, value in zip(classifier.trainable_variables, weights, strict=True):
            variable.assign(value)
        figures[ending] = _figures(classifier, tested, epoch)
    return {"recipe": str(recipe), "endings": figures, **{name: history[name] for name in ("val_loss", "val_macro_f1")}}


def _figures(classifier: Any, tested: Any, epoch: int) -> dict[str, float]:
    found = classifier.evaluate(tested, verbose=0, return_dict=True)
    return {"epoch": epoch, **{name: round(found[name], 4) for name in ("accuracy", "macro_f1", "loss")}}


def main(_: list[str]) -> None:
    out = Path(FLAGS.out)
    out.parent.mkdir(parents=True, exist_ok=True)
    runs = [json.loads(line) for line in out.read_text().splitlines()] if out.exists() else []
    done = {run["run"] for run in runs}
    for seed in range(FLAGS.seeds):
        for cell in FLAGS.cells:
            for arm in FLAGS.arms:
                if (key := f"{cell}:{arm}:{seed}") in done:
                    continue
                name, size = cell.split(":")
                runs.append({"run": key, **train(name, int(size), arm, seed)})
                with out.open("a") as file:
                    file.write(json.dumps(runs[-1]) + "\n")
                print(key, json.dumps(runs[-1].get("endings", runs[-1])), flush=True)
    print(table(runs))


def table(runs: list[dict[str, Any]]) -> str:
    """Write test accuracy and loss by cell, arm and ending, with the difference from the last weights from a solved head."""
    found = {run["run"]: run["endings"] for run in runs if "endings" in run}
    lines = [
        "| cell | arm | ending | accuracy | macro-F1 | loss | accuracy over the end of solved |",
        "| --- | --- | --- | --: | --: | --: | --: |",
    ]
    for cell in dict.fromkeys(key.rsplit(":", 2)[0] for key in found):
        for arm in ("solved", "random", "half"):
            for ending in ("last", "loss", "macro_f1"):
                seeds = [s for s in range(100) if f"{cell}:{arm}:{s}" in found and f"{cell}:solved:{s}" in found]
                if not seeds:
                    continue
                own = [found[f"{cell}:{arm}:{s}"][ending] for s in seeds]
                solved = [found[f"{cell}:solved:{s}"]["last"]["accuracy"] for s in seeds]
                over = np.array([one["accuracy"] for one in own]) - solved
                error = over.std(ddof=1) / len(over) ** 0.5 if len(over) > 1 else float("nan")
                means = " | ".join(
                    f"{np.mean([x[name] for x in own]):.3f}" for name in ("accuracy", "macro_f1", "loss")
                )
                lines.append(f"| {cell} | {arm} | {ending} | {means} | {over.mean():+.3f} ± {error:.3f} |")
    return "\n".join(lines)


if __name__ == "__main__":
    run_command(main)
