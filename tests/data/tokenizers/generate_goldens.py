"""Writes goldens.json: what Hugging Face's fast BERT tokenizer makes of the texts of cases.py.

    python tests/data/tokenizers/generate_goldens.py
"""

import hashlib
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import cases  # noqa: E402
import reference  # noqa: E402

PAIR_LENGTHS = (0, 1, 2, 3, 5, 8, 13)


def digest(words):
    return hashlib.sha256(" ".join(words).encode("utf-8")).hexdigest()[:12]


def main():
    vocabulary = cases.vocabulary()
    goldens = {"tokenizers": reference.VERSION, "ids": {}, "bytes": {}, "words": {}, "packed": []}
    for name, settings in cases.SETTINGS.items():
        encode, words = reference.encoder(vocabulary, **settings), reference.words(**settings)
        goldens["ids"][name] = [encode(text) for text in cases.TEXTS]
        goldens["bytes"][name] = [encode(data.decode("utf-8", "replace")) for data in cases.BYTES]
        goldens["words"][name] = [digest(words(cases.block_text(block))) for block in range(0x110000 // cases.BLOCK)]
    tokenizer = reference.bert_tokenizer(vocabulary)
    for max_length in (3, 4, 7, 10, 16):
        for first in PAIR_LENGTHS:
            for second in PAIR_LENGTHS:
                row = tokenizer("a " * first, "b " * second, truncation="longest_first", max_length=max_length)
                ids = row["input_ids"]
                goldens["packed"].append([max_length, first, second, ids, sum(row["token_type_ids"])])
    path = Path(__file__).with_name("goldens.json")
    lines = ",\n".join(f"{json.dumps(key)}: {json.dumps(value, separators=(',', ':'))}" for key, value in goldens.items())
    path.write_text("{" + lines + "}\n", encoding="ascii")
    print(f"{path}: {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
