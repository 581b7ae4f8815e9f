"""The commands of README.md and docs/ run one behind the other as they are written, on small data."""

import csv
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import tftransformer as tt

ROOT = Path(__file__).resolve().parents[2]
# How long they run, and over how many seeds, is all that is changed.
SHORTER = {
    "--minutes=5": "--minutes=0.5",
    "--minutes=10": "--minutes=0.1",
    "--minutes=30": "--minutes=0.1",
    "--minutes=60": "--minutes=0.1",
    "--seeds=3": "--seeds=1",
}
# A document goes on with the run of the first command of another one.
FIRST = {"docs/tasks.md": "README.md"}
SAID = "Hello\n"  # to a chat


def commands(name):
    text = (ROOT / name).read_text("utf-8")
    found = re.findall(r"(<!-- not run:.*?-->\n)?^```bash\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    lines = [line for mark, code in found if not mark for line in code.replace("\\\n", " ").splitlines()]
    # Those of installing are the continuous check's, and benchmarks have tests of their own.
    return [line for line in lines if line.startswith(("python examples/", "python -m tftransformer "))]


DOCUMENTS = [
    path.relative_to(ROOT).as_posix()
    for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
    if commands(path.relative_to(ROOT))
]


def write_rows(path, columns):
    path.parent.mkdir(exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))


def write_json_lines(path, rows):
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def write_data(folder, reviews):
    """All files that the commands name."""
    words = "film story plot actor music scene".split()
    texts = [f"{text} {one} {other}" for text in reviews[0] for one in words for other in ("again", "twice")]
    labels = [label for label in reviews[1] for _ in range(len(words) * 2)]
    rows = np.random.default_rng(3).permutation(len(texts))
    texts, labels = [texts[i] for i in rows], [labels[i] for i in rows]
    for name, start, end in (("tickets", 0, 500), ("may", 500, 600), ("reports", 600, 700)):
        write_rows(folder / f"{name}.csv", {"text": texts[start:end], "label": labels[start:end]})
    write_rows(folder / "new.csv", {"text": texts[-20:]})
    (folder / "new.txt").write_text("\n".join(texts[-40:]) + "\n", encoding="utf-8")
    for name, first in (("multi30k", 0), ("manuals", 300)):
        (folder / name).mkdir()
        for split, start, end in (("train", 0, 200), ("val", 200, 230), ("test", 230, 260)):
            some = texts[first + start : first + end]
            (folder / name / f"{split}.en").write_text("\n".join(some) + "\n", encoding="utf-8")
            (folder / name / f"{split}.de").write_text("\n".join(t.upper() for t in some) + "\n", encoding="utf-8")
    for split, start, end in (("train", 0, 80), ("dev", 80, 100), ("test", 100, 120)):
        pairs = [{"source": [f"{t}.", "It was seen."], "target": [t, t.upper()]} for t in texts[start:end]]
        write_json_lines(folder / "scitldr" / f"{split}.jsonl", pairs)
    write_json_lines(folder / "new.jsonl", [{"source": f"{text}. It was seen."} for text in texts[:10]])
    articles = [{"article": f"{text}. It was seen. Nobody knows why.", "summary": text} for text in texts[:100]]
    write_json_lines(folder / "articles.jsonl", articles)
    for split, start, end in (("train", 0, 200), ("valid", 200, 230), ("test", 230, 260)):
        (folder / "wikitext2").mkdir(exist_ok=True)
        (folder / "wikitext2" / f"{split}.txt").write_text("\n\n".join(texts[start:end]) + "\n", encoding="utf-8")
    turns = [[("user", text), ("assistant", label)] for text, label in zip(texts[:100], labels[:100], strict=True)]
    chats = [{"messages": [{"role": role, "content": said} for role, said in turn]} for turn in turns]
    write_json_lines(folder / "chats.jsonl", chats)
    (folder / "notes.txt").write_text("\n\n".join(texts[:200]) + "\n", encoding="utf-8")
    (folder / "notes").mkdir()
    (folder / "notes" / "all.txt").write_text("\n\n".join(texts[:200]) + "\n", encoding="utf-8")


def write_models(folder, preset, texts):
    """The models that the commands name and do not make."""
    (folder / "bert_base_en_uncased").symlink_to(preset)
    words = tt.text.train_byte_bpe(texts, 300)
    sizes = {"num_layers": 1, "hidden_dim": 8, "num_heads": 2, "intermediate_dim": 16}
    config = tt.TransformerConfig("gpt2", vocabulary_size=words.vocabulary_size, **sizes)
    tt.CausalLM(config, words).save_to_preset(folder / "gpt2", format="huggingface")
    config = tt.TransformerConfig(
        "transformer", vocabulary_size=words.vocabulary_size, max_sequence_length=512, share_embeddings=True, **sizes
    )
    tt.Seq2Seq(config, words).save_to_preset(folder / "models" / "summarizer")


@pytest.fixture(scope="module")
def ran(tmp_path_factory, reviews, tiny_config, tiny_vocabulary):
    """Runs all commands of a document, one behind the other in one folder."""
    from tftransformer.checkpoints import save_preset
    from tftransformer.models.encoder import build_encoder
    from tftransformer.patterns import addresses
    from tftransformer.text import WordPieceTokenizer

    folder = tmp_path_factory.mktemp("documents")
    config = tiny_config.replace(num_layers=9, max_sequence_length=512)  # freeze:8 leaves one
    save_preset(
        folder / "nine_blocks", config=config, tokenizer=WordPieceTokenizer(tiny_vocabulary),
        variables=addresses(build_encoder(config)),
    )  # fmt: skip
    write_data(folder, reviews)
    write_models(folder, folder / "nine_blocks", reviews[0])
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"}

    def run(name):
        before = commands(FIRST[name])[:1] if name in FIRST and not (folder / "runs" / "tickets-1").exists() else []
        for line in before + commands(name):
            words = [SHORTER.get(word, word) for word in shlex.split(line, comments=True)]
            script = words[1:] if words[1] == "-m" else [str(ROOT / words[1]), *words[2:]]
            done = subprocess.run(
                [sys.executable, *script],
                cwd=folder,
                env=environment,
                capture_output=True,
                text=True,
                input=SAID,
                timeout=900,
                check=False,
            )
            assert done.returncode == 0, f"{line}\n{done.stdout[-1500:]}\n{done.stderr[-3000:]}"
            assert "Traceback" not in done.stderr, line

    return run


@pytest.mark.slow
@pytest.mark.parametrize("name", DOCUMENTS)
def test_its_commands_run(name, ran):
    ran(name)


def test_what_is_shortened_stands_somewhere():
    every = " ".join(line for name in DOCUMENTS for line in commands(name))
    assert all(re.search(rf"{old}(\s|$)", every) for old in SHORTER)
