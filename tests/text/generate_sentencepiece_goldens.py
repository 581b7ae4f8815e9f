"""Writes the tiny SentencePiece models and sentencepiece_goldens.json: what Hugging Face's fast tokenizers make of them.

python tests/text/generate_sentencepiece_goldens.py   (needs sentencepiece and transformers)
"""

import dataclasses
import io
import json
import lzma
import sys
from pathlib import Path

import sentencepiece
import tokenizers

sys.path.insert(0, str(Path(__file__).parent))

import sentencepiece_cases as cases  # noqa: E402
import sentencepiece_reference as reference  # noqa: E402
import tokenizer_cases  # noqa: E402

from tftransformer.text.sentencepiece_model import model_bytes, parse_model  # noqa: E402

CONTROL = ["[CLS]", "[SEP]", "[MASK]"]
TRAINERS = {
    "albert": {"pad_id": 0, "unk_id": 1, "bos_id": -1, "eos_id": -1, "control_symbols": CONTROL},
    "xlm_roberta": {},
}
SENTENCES = """
The quick brown fox jumps over the lazy dog, and nobody is surprised.
A small model learns small words: the, and, of, to, in, is, that, it.
Trains leave early in the morning; whoever sleeps late walks along the river.
Crème brûlée costs 3.50 euros; the naïve façade was painted in 1985.
Der schnelle braune Fuchs springt über den faulen Hund, und niemand wundert sich.
Le train part tôt le matin, et qui dort tard marche le long de la rivière.
Быстрая лиса прыгает через ленивую собаку, и никто не удивляется.
日本語の文は空白なしで書かれる。漢字かな混じり文です。
한국어 문장은 띄어쓰기가 있습니다. 글을 씁니다.
الثعلب السريع يقفز فوق الكلب الكسول. שלום עולם.
हिन्दी में एक छोटा वाक्य। ภาษาไทยไม่มีช่องว่าง
""".strip().split("\n")


def train(family):
    data = io.BytesIO()
    lines = [line.lower() if family == "albert" else line for line in SENTENCES]
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines * 30),
        model_writer=data,
        vocab_size=400,
        character_coverage=0.998,
        hard_vocab_limit=False,
        minloglevel=2,
        **TRAINERS[family],
    )
    return parse_model(data.getvalue())


def main():
    goldens = {"tokenizers": tokenizers.__version__, "texts": {}, "bytes": {}, "blocks": {}}
    for family in cases.SETTINGS:
        trained = train(family)
        charsmap = lzma.compress(trained.charsmap, preset=9 | lzma.PRESET_EXTREME)
        (cases.HERE / "sentencepiece_nmt_nfkc.charsmap.xz").write_bytes(charsmap)
        small = model_bytes(dataclasses.replace(trained, charsmap=b""))
        (cases.HERE / f"sentencepiece_{family}.model").write_bytes(small)
        encode = reference.encoder(family)
        decoded = [data.decode("utf-8", "replace") for data in tokenizer_cases.BYTES]
        goldens["texts"][family] = [reference.compact(row) for row in encode(cases.TEXTS)]
        goldens["bytes"][family] = encode(decoded)
        goldens["blocks"][family] = {
            block: reference.digest(encode(cases.block_texts(block))) for block in tokenizer_cases.BLOCKS
        }
    lines = ",\n".join(
        f"{json.dumps(key)}: {json.dumps(value, separators=(',', ':'))}" for key, value in goldens.items()
    )
    path = cases.HERE / "sentencepiece_goldens.json"
    path.write_text("{" + lines + "}\n", encoding="ascii")
    print(f"{path}: {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
