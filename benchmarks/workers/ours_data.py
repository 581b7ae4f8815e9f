"""tftransformer: texts tokenised once into flat arrays, an epoch of batches grouped by length."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from data_turns import Epoch, Reader, serve_data


def build(settings: dict[str, Any]) -> Reader:
    import tftransformer as tt
    from tftransformer.data.texts import Texts
    from tftransformer.text import WordPieceTokenizer

    tokenizer = WordPieceTokenizer(settings["vocabulary"])
    pack = tt.data.packer(tokenizer, settings["length"])

    def reader(texts: list[str], labels: list[int]) -> Epoch:
        examples = tt.data.build_examples(
            Texts(texts), np.array(labels, "int32"), tokenize=tokenizer.tokenize, pack=pack
        )
        batches = tt.data.token_batches(examples, settings["batch_size"])

        def epoch() -> Iterator[tuple[int, int, int]]:
            for x, _ in batches:
                mask = x["padding_mask"].numpy()
                yield len(mask), mask.shape[1], int(mask.sum())

        return epoch

    return reader


if __name__ == "__main__":
    serve_data(build)
