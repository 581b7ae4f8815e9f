"""Shards of a small made-up text, with a teacher of the same vocabulary."""

import pytest

# Each text tells its last word by its first, so that who looks at the text can guess what frequency cannot.
TEXTS = [
    f"{a} was the {b} movie" for a, b in (("good", "great"), ("bad", "awful"), ("slow", "dull"), ("quick", "bright"))
]


@pytest.fixture(scope="session")
def text_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("texts") / "a.txt"
    path.write_text("\n\n".join(text for i in range(60) for text in TEXTS), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def shard_folder(tmp_path_factory, text_file, two_block_preset):
    from tftransformer.runs.pretraining import prepare_shards
    from tftransformer.runs.pretraining_options import TextOptions

    folder = tmp_path_factory.mktemp("shards") / "tiny"
    prepare_shards(
        TextOptions(
            texts=(str(text_file),),
            output_dir=str(folder),
            preset=str(two_block_preset),
            teacher=str(two_block_preset),
            heldout_fraction=0.1,
        )
    )
    return folder
