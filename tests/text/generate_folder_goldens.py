"""Writes folder_goldens.json: hashes of what Hugging Face's tokenizers make of a folder of texts.

The texts are not part of the project; only hashes of token ids and offsets are. One hash covers a file:

    python tests/text/generate_folder_goldens.py FOLDER
"""

import hashlib
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import tokenizer_cases as cases  # noqa: E402
import tokenizer_reference as reference  # noqa: E402


def main():
    vocabulary, files = cases.vocabulary(), cases.byte_bpe_files()
    encoders = {name: reference.word_piece(vocabulary, **s) for name, s in cases.SETTINGS.items()}
    encoders["byte_bpe"] = reference.byte_bpe(files)
    goldens = {name: {} for name in encoders}
    for file, texts in cases.folder_texts(Path(sys.argv[1])).items():
        for name, encode in encoders.items():
            digests = "".join(cases.digest(*encode(text)) for text in texts)
            goldens[name][file] = hashlib.sha256(digests.encode()).hexdigest()[:12]
    path = Path(__file__).with_name("folder_goldens.json")
    path.write_text(json.dumps(goldens, indent=1) + "\n", encoding="ascii")
    print(f"{path}: {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
