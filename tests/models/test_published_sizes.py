"""The published sizes of every family have the parameters that their authors' models have."""

import pytest

from tftransformer.config import TransformerConfig
from tftransformer.models import build_encoder, count_parameters, encoder_shapes
from tftransformer.patterns import addresses

# Layers, width, heads, inner width.
TINY, MINI, SMALL, MEDIUM = (2, 128, 2, 512), (4, 256, 4, 1024), (4, 512, 8, 2048), (8, 512, 8, 2048)
BASE, LARGE = (12, 768, 12, 3072), (24, 1024, 16, 4096)
# Family, sizes, vocabulary, other fields, parameters of the encoder without a pooler.
PUBLISHED = {
    "BERT-tiny": ("bert", TINY, 30522, {}, 4_369_408),
    "BERT-mini": ("bert", MINI, 30522, {}, 11_104_768),
    "BERT-small": ("bert", SMALL, 30522, {}, 28_500_992),
    "BERT-medium": ("bert", MEDIUM, 30522, {}, 41_110_528),
    "bert-base-uncased": ("bert", BASE, 30522, {}, 108_891_648),
    "bert-base-cased": ("bert", BASE, 28996, {}, 107_719_680),
    "bert-base-multilingual-cased": ("bert", BASE, 119547, {}, 177_262_848),
    "bert-large-uncased": ("bert", LARGE, 30522, {}, 334_092_288),
    "distilbert-base-uncased": ("distilbert", (6, 768, 12, 3072), 30522, {}, 66_362_880),
    "distilbert-base-multilingual-cased": ("distilbert", (6, 768, 12, 3072), 119547, {}, 134_734_080),
    "roberta-base": ("roberta", BASE, 50265, {}, 124_055_040),
    "roberta-large": ("roberta", LARGE, 50265, {}, 354_310_144),
    "distilroberta-base": ("roberta", (6, 768, 12, 3072), 50265, {}, 81_527_808),
    "xlm-roberta-base": ("xlm_roberta", BASE, 250002, {}, 277_453_056),
    "xlm-roberta-large": ("xlm_roberta", LARGE, 250002, {}, 558_840_832),
    "electra-small-discriminator": ("electra", (12, 256, 4, 1024), 30522, {"embedding_dim": 128}, 13_483_008),
    "electra-base-discriminator": ("electra", BASE, 30522, {}, 108_891_648),
    "electra-large-discriminator": ("electra", LARGE, 30522, {}, 334_092_288),
    "albert-base-v2": ("albert", BASE, 30000, {}, 11_092_992),
    "albert-large-v2": ("albert", LARGE, 30000, {}, 16_634_368),
    "albert-xlarge-v2": ("albert", (24, 2048, 16, 8192), 30000, {}, 54_528_512),
    "albert-xxlarge-v2": ("albert", (12, 4096, 64, 16384), 30000, {}, 205_814_272),
}
THEIRS = {
    "bert": "Bert",
    "distilbert": "DistilBert",
    "roberta": "Roberta",
    "xlm_roberta": "XLMRoberta",
    "electra": "Electra",
    "albert": "Albert",
}


def config(name):
    family, (layers, width, heads, inner), vocabulary, fields, _ = PUBLISHED[name]
    sizes = {"num_layers": layers, "hidden_dim": width, "num_heads": heads, "intermediate_dim": inner}
    return TransformerConfig(family, vocabulary_size=vocabulary, **sizes, **fields)


@pytest.mark.parametrize("name", PUBLISHED)
def test_parameters_of_published_sizes(name):
    assert count_parameters(config(name)) == PUBLISHED[name][-1]


@pytest.mark.parametrize("family", THEIRS)
def test_shapes_are_those_of_the_model(family):
    sizes = {"num_layers": 2, "hidden_dim": 8, "num_heads": 2, "intermediate_dim": 12, "max_sequence_length": 6}
    made = TransformerConfig(family, vocabulary_size=11, **sizes)
    found = {address: tuple(v.shape) for address, v in addresses(build_encoder(made)).items()}
    assert found == encoder_shapes(made)


def test_shapes_of_blocks_with_unlike_heads_are_those_of_the_model():
    sizes = {"vocabulary_size": 11, "num_layers": 2, "hidden_dim": 8, "head_dim": 2, "intermediate_dim": 12}
    made = TransformerConfig(**sizes, num_heads=(4, 3), num_key_value_heads=(2, 1))
    found = {address: tuple(v.shape) for address, v in addresses(build_encoder(made)).items()}
    assert found == encoder_shapes(made)
    assert found["encoder_block_1/attention/query/kernel"] == (8, 6)
    assert found["encoder_block_1/attention/value/kernel"] == (8, 2)
    assert found["encoder_block_0/attention/output/kernel"] == (8, 8)


@pytest.mark.live
@pytest.mark.parametrize("name", PUBLISHED)
def test_hugging_faces_models_have_as_many(name):
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    from tftransformer.checkpoints.huggingface.settings import settings_of

    made = config(name)
    settings = settings_of(made)
    settings.pop("model_type")
    with torch.device("meta"):
        model = getattr(transformers, f"{THEIRS[made.family]}Model")(
            getattr(transformers, f"{THEIRS[made.family]}Config")(**settings)
        )
    counted = sum(p.numel() for n, p in model.named_parameters() if not n.startswith("pooler"))
    assert counted == count_parameters(made)
