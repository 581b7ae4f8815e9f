"""Writes goldens.json: what Hugging Face's fast BERT tokenizer makes of the texts of tokenizer_cases.py.

python tests/text/generate_goldens.py
"""

import hashlib
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import tokenizer_cases as cases  # noqa: E402
import tokenizer_reference as reference  # noqa: E402

PAIR_LENGTHS = (0, 1, 2, 3, 5, 8, 13)


def digest(words):
    return hashlib.sha256(" ".join(words).encode("utf-8")).hexdigest()[:12]


def main():
    vocabulary = cases.vocabulary()
    goldens = {
        "tokenizers": reference.VERSION,
        "ids": {},
        "bytes": {},
        "words": {},
        "places": {},
        "block_places": {},
        "packed": [],
    }
    for name, settings in cases.SETTINGS.items():
        encode, words = reference.encoder(vocabulary, **settings), reference.words(**settings)
        goldens["ids"][name] = [encode(text) for text in cases.TEXTS]
        goldens["bytes"][name] = [encode(data.decode("utf-8", "replace")) for data in cases.BYTES]
        places = reference.word_piece(vocabulary, **settings)
        goldens["places"][name] = [cases.digest(*places(text)) for text in cases.TEXTS]
        blocks = {block: cases.digest(*places(cases.block_text(block))) for block in cases.BLOCKS}
        goldens["block_places"][name] = blocks
        goldens["words"][name] = {block: digest(words(cases.block_text(block))) for block in cases.BLOCKS}
    tokenizer = reference.bert_tokenizer(vocabulary)
    for max_length in (3, 4, 7, 10, 16):
        lengths = [(first, second) for first in PAIR_LENGTHS for second in PAIR_LENGTHS]
        rows = tokenizer(  # as lists: a second text that is empty and alone would count as none
            ["a " * first for first, _ in lengths],
            ["b " * second for _, second in lengths],
            truncation="longest_first",
            max_length=max_length,
        )
        for (first, second), ids, segments in zip(lengths, rows["input_ids"], rows["token_type_ids"], strict=True):
            goldens["packed"].append([max_length, first, second, ids, sum(segments)])
    path = Path(__file__).with_name("goldens.json")
    lines = ",\n".join(
        f"{json.dumps(key)}: {json.dumps(value, separators=(',', ':'))}" for key, value in goldens.items()
    )
    path.write_text("{" + lines + "}\n", encoding="ascii")
    print(f"{path}: {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
