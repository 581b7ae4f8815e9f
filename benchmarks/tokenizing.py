"""SentencePiece's operation and the vocabulary trainer of `tokenizers` against what this package does, on the texts of a folder.

    python benchmarks/tokenizing.py --texts=DATA

A model of 8,000 pieces is trained by the library `sentencepiece` on part of the texts. Counted are the texts whose ids
differ from those of Hugging Face's tokenizers: ours, and tensorflow-text's `SentencepieceTokenizer`. Then both trainers
of WordPiece vocabularies learn 8,192 tokens from the same texts, and are compared on others.
"""

import gzip
import io
import json
import pathlib
import time
from collections.abc import Iterator

import sentencepiece
import tensorflow as tf
import tensorflow_text
from absl import app, flags
from tokenizers import BertWordPieceTokenizer
from transformers import XLMRobertaTokenizer

from tftransformer.text import WordPieceTokenizer
from tftransformer.text.sentencepiece import SentencePieceTokenizer
from tftransformer.text.sentencepiece_model import model_bytes, parse_model, to_fairseq
from tftransformer.text.vocabulary_training import train_wordpiece

_TEXTS = flags.DEFINE_string("texts", None, "Folder whose texts are read, with all below it.", required=True)
_MOST = flags.DEFINE_integer("most", 20_000, "Lines of a file that are read, evenly spread; 0 for all.")
_SUFFIXES = {".txt", ".tsv", ".csv", ".jsonl", ".json", ".tokens", ".en", ".de", ".gz", ".train", ".testa", ".testb"}
_BATCH = 1024


def lines_of(path: pathlib.Path) -> list[str]:
    """Read the lines that hold something; of JSON, its strings."""
    data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    text = data.decode("utf-8", "replace")
    lines = list(_strings(json.loads(text))) if path.suffix == ".json" else text.split("\n")
    return [line.strip("\r") for line in lines if line.strip()]


def _strings(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, (list, dict)):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _strings(item)


def read(folder: str, most: int) -> list[str]:
    texts: list[str] = []
    for path in sorted(pathlib.Path(folder).rglob("*")):
        if path.suffix.lower() in _SUFFIXES and path.is_file():
            lines = lines_of(path)
            texts += lines[:: max(1, -(-len(lines) // most))] if most else lines
    return texts


def compare_sentencepiece(texts: list[str]) -> None:
    data = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(texts[::10]), model_writer=data, vocab_size=8000, character_coverage=0.9995,
        hard_vocab_limit=False, minloglevel=2, num_threads=1,
    )  # fmt: skip
    operation = tensorflow_text.SentencepieceTokenizer(model=data.getvalue())
    model = to_fairseq(parse_model(data.getvalue()), ("<s>", "<pad>", "</s>", "<unk>", "<mask>"))
    ours = SentencePieceTokenizer(model_bytes(model))
    names = {name: "\U0010abcd" * (5 + i) for i, name in enumerate(("<s>", "<pad>", "</s>", "<mask>"))}
    start, pad, separator, mask = names.values()
    theirs = XLMRobertaTokenizer(
        vocab=[(names.get(p, p), score) for p, score in zip(model.pieces, model.scores, strict=True)],
        _spm_precompiled_charsmap=model.charsmap, unk_token="<unk>", pad_token=pad, mask_token=mask, cls_token=start,
        bos_token=start, sep_token=separator, eos_token=separator,
    )  # fmt: skip

    def by_operation(batch: list[str]) -> list[list[int]]:
        found = operation.tokenize(tf.constant(batch))  # ids of the file; the others have XLM-RoBERTa's
        return found.with_values(tf.where(found.values == 0, 3, found.values + 1)).to_list()

    forms = {
        "Hugging Face": lambda batch: theirs(batch, add_special_tokens=False, split_special_tokens=True)["input_ids"],
        "this package": lambda batch: ours.tokenize(tf.constant(batch)).to_list(),
        "operation": by_operation,
    }
    differ, seconds, shown = dict.fromkeys(forms, 0), dict.fromkeys(forms, 0.0), dict.fromkeys(forms, 0)
    for start in range(0, len(texts), _BATCH):
        batch, ids = texts[start : start + _BATCH], {}
        for name, encode in forms.items():
            began = time.perf_counter()
            ids[name] = encode(batch)
            seconds[name] += time.perf_counter() - began
        for text, expected, *others in zip(batch, *ids.values(), strict=True):
            for name, found in zip(list(forms)[1:], others, strict=True):
                differ[name] += found != expected
                if found != expected and shown[name] < 5:
                    shown[name] += 1
                    print(f"  {name} differs: {text[:100]!a}\n    {expected[:12]} {found[:12]}")
    for name in forms:
        print(f"{name}: {differ[name]:,} of {len(texts):,} texts differ, {seconds[name]:.0f} s", flush=True)


def compare_training(texts: list[str]) -> None:
    learned, unseen = texts[0::2], texts[1::2][:20_000]
    began = time.perf_counter()
    vocabularies = {"this package": train_wordpiece(learned, 8192)}
    print(f"this package learned in {time.perf_counter() - began:.0f} s")
    began = time.perf_counter()
    trainer = BertWordPieceTokenizer(lowercase=True)
    trainer.train_from_iterator(learned, vocab_size=8192, show_progress=False)
    print(f"tokenizers learned in {time.perf_counter() - began:.0f} s")
    found = trainer.get_vocab()
    vocabularies["tokenizers"] = sorted(found, key=found.get)
    print(f"in both: {len(set.intersection(*map(set, vocabularies.values()))):,} of 8,192")
    for name, vocabulary in vocabularies.items():
        tokenizer = WordPieceTokenizer(vocabulary)
        ids = [tokenizer.tokenize(tf.constant(unseen[i : i + _BATCH])) for i in range(0, len(unseen), _BATCH)]
        tokens = sum(int(row.flat_values.shape[0]) for row in ids)
        unknown = sum(int(tf.reduce_sum(tf.cast(row.flat_values == tokenizer.unknown_id, tf.int32))) for row in ids)
        print(f"{name}: {tokens:,} tokens of {len(unseen):,} unseen texts, {unknown:,} of them unknown")


def main(_: list[str]) -> None:
    texts = read(_TEXTS.value, _MOST.value)
    print(f"{len(texts):,} texts, {sum(map(len, texts)):,} characters", flush=True)
    # A written "<unk>" is Hugging Face's special token.
    texts = [text.replace("<unk>", "unk") for text in texts]
    compare_training([text for text in texts if text.isascii()])
    compare_sentencepiece(texts)


if __name__ == "__main__":
    app.run(main)
