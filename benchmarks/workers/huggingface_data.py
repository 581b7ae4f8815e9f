"""Hugging Face: the fast tokenizer over a thousand texts at a time, then its collator on shuffled batches.

`datasets.map(batched=True)` and torch's DataLoader do the same around these two; `group_by_length` sorts
windows of fifty batches by length, as its Trainer can.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
from data_turns import Epoch, Reader, serve_data

WINDOW_BATCHES = 50


def build(settings: dict[str, Any]) -> Reader:
    import tokenizers
    import transformers

    transformers.utils.logging.set_verbosity_error()
    inner = tokenizers.BertWordPieceTokenizer(settings["vocabulary"], lowercase=True)
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=inner._tokenizer,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    )
    collate = transformers.DataCollatorWithPadding(tokenizer, return_tensors="np")
    size = settings["batch_size"]

    def reader(texts: list[str], labels: list[int]) -> Epoch:
        ids: list[list[int]] = []
        for start in range(0, len(texts), 1000):
            chunk = tokenizer(texts[start : start + 1000], truncation=True, max_length=settings["length"])
            ids.extend(chunk["input_ids"])
        lengths = np.array([len(row) for row in ids])

        def epoch() -> Iterator[tuple[int, int, int]]:
            order = np.random.default_rng(0).permutation(len(ids))
            if settings.get("group_by_length"):
                window = WINDOW_BATCHES * size
                windows = [order[start : start + window] for start in range(0, len(order), window)]
                order = np.concatenate([w[np.argsort(-lengths[w], kind="stable")] for w in windows])
            for start in range(0, len(order), size):
                rows = order[start : start + size]
                mask = collate([{"input_ids": ids[i], "label": labels[i]} for i in rows])["attention_mask"]
                yield len(mask), mask.shape[1], int(mask.sum())

        return epoch

    return reader


if __name__ == "__main__":
    serve_data(build)
