"""Trains byte_bpe/vocab.json and merges.txt, and writes byte_bpe/goldens.json, with Hugging Face's libraries.

python tests/text/generate_byte_bpe.py
"""

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import tokenizer_cases as cases  # noqa: E402
import tokenizer_reference as reference  # noqa: E402
from tokenizers import ByteLevelBPETokenizer  # noqa: E402

FOLDER = Path(__file__).parent / "byte_bpe"
SPECIAL = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
SIZE = 900
TRAINING = [
    "The river rises in the hills above the town, and in spring it's often higher than the old bridge.",
    "They're sure that we'll find what you've lost; I'd say he's looked where it isn't, and I'm not.",
    "Der Fluss entspringt über der Stadt, und im Frühling steht das Wasser höher als die alte Brücke.",
    "La rivière naît dans les collines au-dessus de la ville; au printemps, l'eau dépasse le vieux pont.",
    "El río nace en las montañas, y en primavera el agua llega más arriba que el puente viejo. ¿Qué más?",
    "Река начинается в холмах над городом, и весной вода стоит выше старого моста.",
    "河水发源于城市上方的山丘，春天的时候，水位常常高过那座老桥。",
    "川は町の上の丘から流れ出し、春には古い橋よりも水位が高くなることがあります。",
    "강은 마을 위의 언덕에서 시작되고, 봄에는 물이 오래된 다리보다 높아진다.",
    "ينبع النهر من التلال فوق المدينة، وفي الربيع يرتفع الماء فوق الجسر القديم.",
    "הנהר נובע מן הגבעות שמעל העיר, ובאביב המים גבוהים מן הגשר הישן.",
    "नदी शहर के ऊपर की पहाड़ियों से निकलती है।  แม่น้ำไหลผ่านเมือง   in 1984, 2024 and 10,000 B.C.",
    "👩‍👩‍👧‍👦 👍🏽 🏳️‍🌈 aaaa bbbb abab       (spaces)\n\n\t\tand lines\n",
]


def main():
    FOLDER.mkdir(exist_ok=True)
    trained = ByteLevelBPETokenizer()
    trained.train_from_iterator(
        TRAINING * 2, vocab_size=SIZE, min_frequency=2, special_tokens=SPECIAL, show_progress=False
    )
    trained.save_model(str(FOLDER))
    files = cases.byte_bpe_files()
    goldens = {"tokenizers": reference.VERSION, "places": {}, "bytes": {}, "blocks": {}}
    for name, settings in cases.BYTE_BPE_SETTINGS.items():
        places = reference.byte_bpe(files, **settings)
        texts = [*cases.TEXTS, *cases.BYTE_TEXTS]
        goldens["places"][name] = [cases.digest(*places(text)) for text in texts]
        decoded = [data.decode("utf-8", "replace") for data in cases.BYTES]
        goldens["bytes"][name] = [cases.digest(*places(text)) for text in decoded]
    places = reference.byte_bpe(files)
    goldens["blocks"] = {block: cases.digest(*places(cases.block_text(block))) for block in cases.BLOCKS}
    path = FOLDER / "goldens.json"
    lines = ",\n".join(f"{json.dumps(key)}: {json.dumps(value)}" for key, value in goldens.items())
    path.write_text("{" + lines + "}\n", encoding="ascii")
    print(f"{path}: {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
