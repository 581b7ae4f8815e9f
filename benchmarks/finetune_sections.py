"""The sections of `finetune.py`, their contenders, and the texts and weights they get."""

import dataclasses
import json
from pathlib import Path
from typing import Any

from sidebyside.rounds import Contender
from sidebyside.texts import Labelled, fixed_length, real
from sidebyside.weights import pretrained_folder, random_folder

EMBEDDED = "bert_12x192_en_uncased"
PEAK = Contender("matrix products", "machine.py", {"dtypes": ["float32", "bfloat16"]})
RATE = 1e-4
_SHORT = {"float32": "fp32", "bfloat16": "bf16"}
_DEFAULT_LENGTH = 512


@dataclasses.dataclass(frozen=True)
class Sizes:
    """The amount of work of a table.

    Args:
        length: Tokens of the made-up texts.
        batch_size, base_batch_size: Rows a step; fewer for BERT-base's shape, so that there are more steps.
        width, base_width: D of the MiniLM and the BERT-base shape.
        frozen: Blocks of six that the section freeze freezes, a table each.
        fixed, freeze, base: Rows an epoch on made-up texts.
        real: By data set rows an epoch and the longest text in tokens, which is what fits into memory. SST-2 is missing
            from the full tables: the section accuracy is about it.
        documented: Rows an epoch for keras-hub as documented, which computes 512 tokens a text.
        accuracy: Training rows, epochs, validation rows, steps between evaluations.
        rounds: Turns for each contender.
    """

    length: int = 128
    batch_size: int = 16
    width: int = 384
    base_width: int = 768
    frozen: tuple[int, ...] = (2, 4, 6)
    fixed: int = 96
    freeze: int = 64
    base: int = 48
    base_batch_size: int = 8
    real: tuple[tuple[str, int, int], ...] = (("ag_news", 256, 512), ("medical_abstracts", 96, 256))
    documented: int = 32
    accuracy: tuple[int, int, int, int] = (1600, 2, 600, 10)
    rounds: int = 2


FULL = Sizes()
QUICK = Sizes(
    frozen=(4,), fixed=64, freeze=48, base=32, real=(("sst2", 320, 512),), documented=16, accuracy=(480, 1, 100, 10),
)  # fmt: skip
TINY = Sizes(
    length=16, batch_size=4, base_batch_size=4, width=24, base_width=48, frozen=(4,), fixed=8, freeze=8, base=8,
    real=(("sst2", 16, 512),), documented=4, accuracy=(16, 1, 8, 2), rounds=1,
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Section:
    """One table: its heading, its columns (`kind` is "speed", "freeze" or "accuracy"), its rows and the turns for each.

    `preparing` contenders prepare themselves at a time: one where the time to the first step is a column.
    """

    title: str
    kind: str
    contenders: list[Contender]
    rounds: int
    preparing: int = 2


class Bench:
    """Makes sections, of one table or several; weights and texts are written once, into a folder that goes when the run ends.

    Args:
        scratch: That folder.
        sizes: The amount of work.
        data: The folder of the real data sets, or None.
        minilm: A Hugging Face folder with real weights, or None for the embedded preset.
        target: Validation accuracy of the section "accuracy".
    """

    def __init__(
        self, scratch: Path, sizes: Sizes, data: str | None = None, minilm: str | None = None, target: float = 0.8
    ) -> None:
        self._scratch, self._sizes, self._data, self._minilm, self._target = scratch, sizes, data, minilm, target

    def fixed(self) -> list[Section]:
        """Full fine-tuning at a fixed length, MiniLM's shape, a precision at a time because of the memory."""
        sizes = self._sizes
        shared = self._made_up(self._random(6, sizes.width), sizes.fixed)
        documented = {**shared, "rows": sizes.documented, "length": None, "jit": "auto"}
        title = f"MiniLM shape (6 x {sizes.width}), length {sizes.length}, full fine-tuning, "
        fp32 = [
            _ours(shared),
            Contender("keras-hub as documented (512), fp32", "kerashub.py:finetune", documented),
            *(_keras_hub(shared, jit) for jit in (True, False)),
            _torch(shared),
        ]
        bf16 = [
            _ours(shared, precision="bfloat16"),
            *(_keras_hub(shared, jit, "bfloat16") for jit in (True, False)),
            _torch(shared, precision="bfloat16"),
        ]
        return [self._section(title + "fp32", fp32, preparing=1), self._section(title + "bf16", bf16, preparing=1)]

    def compiled(self) -> list[Section]:
        """The step compiled as a whole: by XLA, and by torch.compile."""
        sizes = self._sizes
        shared = self._made_up(self._random(6, sizes.width), sizes.fixed)
        contenders = [
            _ours(shared),
            _ours(shared, ", XLA", jit=True),
            _torch(shared),
            _torch(shared, ", compiled", compile=True),
        ]
        title = f"MiniLM shape (6 x {sizes.width}), length {sizes.length}, steps compiled as a whole, fp32"
        return [self._section(title, contenders, preparing=1)]

    def freeze(self) -> list[Section]:
        """A third, two thirds and all of the blocks frozen, three epochs."""
        return [self._frozen(6, count, 3) for count in self._sizes.frozen]

    def freeze_8_of_12(self) -> list[Section]:
        """Eight of twelve blocks frozen, five epochs in total."""
        return [self._frozen(12, 8, 5)]

    def base(self) -> list[Section]:
        """Full fine-tuning of BERT-base's shape, a precision at a time because of the memory."""
        sizes = self._sizes
        shared = self._made_up(self._random(12, sizes.base_width), sizes.base)
        shared |= {"batch_size": sizes.base_batch_size, "warm_up_rows": 2 * sizes.base_batch_size}
        title = f"BERT-base shape (12 x {sizes.base_width}), length {sizes.length}, full fine-tuning, "
        found = []
        for precision, short in _SHORT.items():
            # XLA's bfloat16 step is the slower of the two.
            peer = _keras_hub(shared, precision == "float32", precision)
            contenders = [_ours(shared, precision=precision), peer, _torch(shared, precision=precision)]
            found.append(self._section(title + short, contenders))
        return found

    def lengths(self) -> list[Section]:
        """Real texts with their own lengths."""
        return [section for real in self._sizes.real for section in self._lengths(*real)]

    def accuracy(self) -> list[Section]:
        """The time to one validation accuracy on SST-2, from pretrained weights."""
        rows, epochs, dev_rows, every = self._sizes.accuracy
        train, dev = real(self._data, "sst2", rows), real(self._data, "sst2_dev", dev_rows)
        shared = self._real(self._pretrained("sst2", train), "sst2_accuracy", train, rows)
        shared |= {"epochs": epochs, "dev": str(self._write("sst2_dev", dev))}
        shared |= {"evaluate_every": every, "target": self._target}
        rivals = self._real_contenders(shared, documented_rows=rows)
        # One run of a peer that computes twenty times the tokens takes as long as all the others.
        slow = dataclasses.replace(rivals[2], rounds=1)
        title = f"SST-2, {rows} texts, to {self._target:.3g} accuracy on {len(dev.texts)} others"
        return [self._section(title, [*rivals[:2], slow, *rivals[3:]], "accuracy", peak=False)]

    def _lengths(self, name: str, rows: int, longest: int) -> list[Section]:
        sizes = self._sizes
        texts = real(self._data, name, rows * (sizes.rounds + 1))
        shared = self._real(self._pretrained(name, texts), name, texts, rows)
        shared["length"] = min(longest, shared["length"])
        contenders = self._real_contenders(shared, documented_rows=sizes.documented)
        title = f"{name}, real lengths up to {shared['length']}, full fine-tuning"
        # A precision at a time because of the memory.
        return [
            self._section(f"{title}, {short}", [c for c in contenders if c.settings["precision"] == precision])
            for precision, short in _SHORT.items()
        ]

    def _real_contenders(self, shared: dict, documented_rows: int) -> list[Contender]:
        fits = self._longest(shared)
        # Its default of 512 fails on an encoder with fewer positions; its user then takes what there are.
        most = shared["length"]
        length = None if most == _DEFAULT_LENGTH else most
        documented = {**shared, "rows": documented_rows, "length": length, "jit": "auto"}
        return [
            _ours(shared),
            _ours(shared, precision="bfloat16"),
            Contender(f"keras-hub as documented ({most}), fp32", "kerashub.py:finetune", documented),
            _keras_hub({**shared, "length": fits}, False, "bfloat16"),
            _torch(shared),
            _torch(shared, ", length groups", precision="bfloat16", group_by_length=True),
        ]

    def _frozen(self, layers: int, count: int, epochs: int) -> Section:
        sizes = self._sizes
        extra = {"epochs": epochs, "warm_up_epochs": 2}
        # Over features alone an epoch is short: more rows, or it is the start of the input pipeline that is timed.
        rows = sizes.freeze if count < layers else 4 * sizes.freeze
        shared = self._made_up(self._random(layers, sizes.width), rows) | extra | {"freeze": count}
        contenders = [_ours(shared)]
        if count < layers:
            alone = self._made_up(self._random(layers - count, sizes.width), sizes.freeze) | extra
            name = f", {layers - count} blocks alone"
            contenders.append(_ours(alone, name, freeze_embeddings=True, activation_cache="off"))
        contenders += [_keras_hub(shared, False), _torch(shared)]
        title = f"{layers} x {sizes.width}, {count} of {layers} blocks frozen, {epochs} epochs"
        return self._section(title, contenders, "freeze", peak=False)

    def _section(
        self, title: str, contenders: list[Contender], kind: str = "speed", peak: bool = True, preparing: int = 2
    ) -> Section:
        contenders = [*contenders, *([PEAK] if peak else [])]
        return Section(title, kind, contenders, self._sizes.rounds, preparing)

    def _made_up(self, folder: Path, rows: int) -> dict[str, Any]:
        length = self._sizes.length
        texts = fixed_length(rows * (self._sizes.rounds + 1), length)
        return self._shared(folder, f"fixed_{rows}", texts, rows) | {"length": length}

    def _shared(self, folder: Path, name: str, texts: Labelled, rows: int) -> dict[str, Any]:
        work = {"folder": str(folder), "train": str(self._write(name, texts)), "rows": rows, "epochs": 1}
        warm_up = {"warm_up_rows": 2 * self._sizes.batch_size, "warm_up_epochs": 1}
        recipe = {"batch_size": self._sizes.batch_size, "length": _DEFAULT_LENGTH, "learning_rate": RATE}
        return {**work, **warm_up, **recipe, "precision": "float32", "freeze": 0}

    def _real(self, folder: Path, name: str, texts: Labelled, rows: int) -> dict[str, Any]:
        positions = json.loads((folder / "config.json").read_text("utf-8"))["max_position_embeddings"]
        return self._shared(folder, name, texts, rows) | {"length": min(_DEFAULT_LENGTH, positions)}

    def _longest(self, shared: dict[str, Any]) -> int:
        """Find the shortest `sequence_length` that cuts no text, a multiple of 8; found by counting tokens."""
        from tftransformer.checkpoints import load_preset

        texts = json.loads(Path(shared["train"]).read_text("utf-8"))["texts"]
        tokenize = load_preset(shared["folder"]).tokenizer.build().tokenize
        longest = max(int(tokenize(texts).row_lengths().numpy().max()) + 2, 8)
        return min(shared["length"], -(-longest // 8) * 8)

    def _write(self, name: str, texts: Labelled) -> Path:
        path = self._scratch / f"{name}.json"
        path.write_text(json.dumps(texts.to_settings()), "utf-8")
        return path

    def _random(self, layers: int, width: int) -> Path:
        folder = self._scratch / f"random_{layers}x{width}"
        return folder if folder.exists() else random_folder(folder, layers, width)

    def _pretrained(self, name: str, texts: Labelled) -> Path:
        folder = self._scratch / f"pretrained_{name}_{len(texts.names)}"
        return folder if folder.exists() else pretrained_folder(self._minilm or EMBEDDED, folder, texts.names)


def _ours(shared: dict, what: str = "", **settings: Any) -> Contender:
    settings = {**shared, **settings}
    return Contender(f"ours{what}, {_SHORT[settings['precision']]}", "ours.py:finetune", settings)


def _keras_hub(shared: dict, jit: bool, precision: str = "float32") -> Contender:
    what = "XLA" if jit else "no XLA"
    settings = {**shared, "jit": jit, "precision": precision}
    return Contender(f"keras-hub tuned, {what}, {_SHORT[precision]}", "kerashub.py:finetune", settings)


def _torch(shared: dict, what: str = "", **settings: Any) -> Contender:
    settings = {**shared, **settings}
    return Contender(f"Hugging Face{what}, {_SHORT[settings['precision']]}", "huggingface.py:finetune", settings)
