"""Full fine-tuning, freezing and LoRA, step by step against transformers and PEFT in torch: equal weights, no dropout."""

import dataclasses
import math
import re

import keras
import numpy as np
import pytest
import tensorflow as tf
from safetensors.numpy import load_file

from tftransformer.finetuning.freezing import freeze
from tftransformer.finetuning.methods import IA3, DoRA, LoRA
from tftransformer.finetuning.optimizers import LARGE_TABLE
from tftransformer.finetuning.projection_deltas import merge
from tftransformer.layers.low_rank import LowRankDelta
from tftransformer.layers.projection import Projection
from tftransformer.layers.sublayers import sublayers_of
from tftransformer.patterns import addresses
from tftransformer.tasks.text_classifier import TextClassifier

pytestmark = pytest.mark.live

BLOCKS, FROZEN, RANK, ALPHA, CLASSES = 3, 2, 4, 6.0, 3
STEPS, WARMUP, RATE, DECAY, CLIP, EPSILON = 10, 3, 2e-3, 0.1, 1.0, 1e-6
# Weights of up to 2 move by a hundredth in ten steps; in float32 the two sides end within 1.5e-6.
TOLERANCE = 5e-6
SIZES = {
    # So many rows that our optimizer takes its short cut for large tables.
    "vocab_size": LARGE_TABLE, "hidden_size": 24, "num_hidden_layers": BLOCKS, "num_attention_heads": 3,
    "intermediate_size": 40, "max_position_embeddings": 16, "num_labels": CLASSES,
    "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0,
}  # fmt: skip
NAMES = {"token_ids": "input_ids", "padding_mask": "attention_mask", "segment_ids": "token_type_ids"}
METHODS = ("lora", "dora", "ia3")
PARTS = {"lora": ("down", "up"), "dora": ("down", "up", "magnitude")}
TARGETS = [(block, name) for block in range(BLOCKS) for name in ("query", "value")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A tiny classifier of transformers with every weight random."""
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    pytest.importorskip("peft")
    model = transformers.BertForSequenceClassification(transformers.BertConfig(**SIZES))
    draw = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            centre = 1.0 if name.endswith("LayerNorm.weight") else 0.0
            parameter.copy_(centre + 0.3 * torch.randn(parameter.shape, generator=draw))
    path = tmp_path_factory.mktemp("bert")
    model.save_pretrained(path)
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *(f"piece{i}" for i in range(LARGE_TABLE - 5))]
    (path / "vocab.txt").write_text("\n".join(pieces) + "\n")
    return path


@pytest.fixture(scope="module")
def batches():
    """Ten batches of rows of unlike lengths, with two segments, and their labels."""
    draw, found = np.random.default_rng(2), []
    for _ in range(STEPS):
        lengths = draw.integers(3, 13, 8)
        places = np.arange(lengths.max())[None, :]
        real = places < lengths[:, None]
        inputs = {
            "token_ids": np.where(real, draw.integers(5, LARGE_TABLE, real.shape), 0),
            "padding_mask": real,
            "segment_ids": real & (places >= lengths[:, None] // 2),
        }
        inputs = {name: value.astype("int32") for name, value in inputs.items()}
        found.append((inputs, draw.integers(0, CLASSES, 8).astype("int32")))
    return found


def lora_starts():
    """A for each block's query and value, (D, rank)."""
    draw = np.random.default_rng(9)
    return {target: draw.uniform(-0.2, 0.2, (SIZES["hidden_size"], RANK)).astype("float32") for target in TARGETS}


@dataclasses.dataclass
class Trained:
    """What one side has after some steps.

    Args:
        weights: By transformers' names; LoRA is merged.
        logits: Of the last batch.
        parameters: How many trained.
        lora: (down, up) by block and projection, both as (in, out).
    """

    weights: dict
    logits: np.ndarray
    parameters: int
    lora: dict = dataclasses.field(default_factory=dict)


def train_here(folder, batches, strategy, steps, path):
    classifier = TextClassifier.from_preset(folder, dropout=0.0, head_dropout=0.0, pooling="cls")
    if strategy == "freeze":
        freeze(classifier, layers=FROZEN)
    if strategy in ("lora", "dora"):
        {"lora": LoRA, "dora": DoRA}[strategy](rank=RANK, alpha=ALPHA).apply(classifier)
        own = addresses(classifier)
        for (block, which), value in lora_starts().items():
            own[f"encoder_block_{block}/attention/{which}/{strategy}/down"].assign(value)
    if strategy == "ia3":
        IA3().apply(classifier)
    trained = sum(math.prod(variable.shape) for variable in classifier.trainable_variables)
    # The schedule's length is that of ten steps, whether all are taken or not.
    classifier.compile(
        learning_rate=RATE, warmup=WARMUP, weight_decay=DECAY, global_clipnorm=CLIP, fresh_multiplier=1.0
    )
    spec = ({name: tf.TensorSpec((None, None), tf.int32) for name in NAMES}, tf.TensorSpec((None,), tf.int32))
    data = tf.data.Dataset.from_generator(lambda: iter(batches), output_signature=spec)
    stop = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: setattr(classifier, "stop_training", batch + 1 >= steps)
    )
    classifier.fit(data.take(steps), steps_per_epoch=STEPS, callbacks=[stop], verbose=0, epochs=1)
    assert int(classifier.optimizer.iterations) == steps
    logits = classifier(batches[-1][0]).numpy()
    own = {name: keras.ops.convert_to_numpy(variable) for name, variable in addresses(classifier).items()}
    lora = {}
    if strategy in ("lora", "dora"):
        for block, which in TARGETS:
            at = f"encoder_block_{block}/attention/{which}/{strategy}"
            lora[block, which] = tuple(own[f"{at}/{name}"] for name in PARTS[strategy])
    if strategy in METHODS:
        merge(classifier)
    classifier.save_to_preset(path, format="huggingface")
    return Trained(load_file(path / "model.safetensors"), logits, trained, lora)


def torch_model(folder, strategy):
    """transformers' model, its parts frozen or wrapped by PEFT with the same A."""
    import peft
    import torch
    import transformers

    model = transformers.BertForSequenceClassification.from_pretrained(folder)
    if strategy == "freeze":
        for part in (model.bert.embeddings, *model.bert.encoder.layer[:FROZEN]):
            part.requires_grad_(False)
    if strategy in ("lora", "dora"):
        # Its targets and dropout for BERT are left at their defaults, as ours are.
        config = peft.LoraConfig(task_type=peft.TaskType.SEQ_CLS, r=RANK, lora_alpha=ALPHA, use_dora=strategy == "dora")
        model = peft.get_peft_model(model, config)
        with torch.no_grad():
            for target, start in lora_starts().items():
                lora_layers(model)[target].lora_A["default"].weight.copy_(torch.tensor(start.T))
    if strategy == "ia3":
        # Its default for BERT also rescales what enters the attention's last product, which the paper does not.
        inner = r".*\.layer\.\d+\.output\.dense"
        config = peft.IA3Config(
            task_type=peft.TaskType.SEQ_CLS, target_modules=rf".*\.self\.(key|value)|{inner}", feedforward_modules=inner
        )
        model = peft.get_peft_model(model, config)
    return model.train()


def lora_layers(model):
    """By block and projection what PEFT has wrapped."""
    from peft.tuners.lora import LoraLayer

    found = {name: part for name, part in model.named_modules() if isinstance(part, LoraLayer)}
    return {
        (int(name.split(".encoder.layer.")[1].split(".")[0]), name.rsplit(".", 1)[1]): part
        for name, part in found.items()
    }


def train_there(folder, batches, strategy, steps):
    import torch

    model = torch_model(folder, strategy)
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    bare = [name for name in trained if name.endswith("bias") or re.search(r"LayerNorm|magnitude|ia3_l", name)]
    groups = [
        {"params": [p for name, p in trained.items() if name not in bare], "weight_decay": DECAY},
        {"params": [trained[name] for name in bare], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=RATE)
    for step, (inputs, labels) in enumerate(batches[:steps]):
        tensors = {NAMES[name]: torch.tensor(value).long() for name, value in inputs.items()}
        model(**tensors, labels=torch.tensor(labels).long()).loss.backward()
        torch.nn.utils.clip_grad_norm_(trained.values(), CLIP)
        for group in optimizer.param_groups:
            rising = (step + 1) / (WARMUP + 1)
            group["lr"] = RATE * min(rising, (STEPS - step) / (STEPS - WARMUP))
            # torch adds epsilon to the corrected second moment, Keras to the one that is not.
            group["eps"] = EPSILON / math.sqrt(1 - 0.999 ** (step + 1))
        optimizer.step()
        optimizer.zero_grad()
    count = sum(p.numel() for p in trained.values())
    tensors = {NAMES[name]: torch.tensor(value).long() for name, value in batches[-1][0].items()}
    with torch.no_grad():
        logits = model.eval()(**tensors).logits.numpy()
    lora = {}
    if strategy in ("lora", "dora"):
        for key, layer in lora_layers(model).items():
            parts = [layer.lora_A["default"].weight, layer.lora_B["default"].weight]
            if strategy == "dora":
                parts.append(layer.lora_magnitude_vector["default"].weight)
            lora[key] = tuple(part.detach().numpy().T.copy() for part in parts)
    if strategy in METHODS:
        model = model.merge_and_unload()
    weights = {name: value.detach().numpy() for name, value in model.state_dict().items()}
    return Trained(weights, logits, count, lora)


@pytest.mark.parametrize("steps", [1, STEPS])
@pytest.mark.parametrize("strategy", ["full", "freeze", *METHODS])
def test_steps_end_in_the_same_weights(strategy, steps, folder, batches, tmp_path):
    ours = train_here(folder, batches, strategy, steps, tmp_path / "ours")
    theirs = train_there(folder, batches, strategy, steps)
    assert ours.parameters == theirs.parameters
    np.testing.assert_allclose(ours.logits, theirs.logits, rtol=0, atol=TOLERANCE)
    start = load_file(folder / "model.safetensors")
    assert set(ours.weights) == set(theirs.weights) == set(start)
    for name, value in theirs.weights.items():
        np.testing.assert_allclose(ours.weights[name], value, rtol=0, atol=TOLERANCE, err_msg=name)
        frozen = (value == start[name]).all()
        assert frozen == (ours.weights[name] == start[name]).all(), name
        # Whatever trains has gone far beyond the tolerance, but for key biases: they change no score.
        if not frozen and not name.endswith("key.bias"):
            assert np.abs(value - start[name]).max() > 50 * TOLERANCE, name
    assert set(ours.lora) == set(theirs.lora)
    for target, parts in theirs.lora.items():
        for own, part in zip(ours.lora[target], parts, strict=True):
            np.testing.assert_allclose(own, part, rtol=0, atol=TOLERANCE, err_msg=str(target))


def test_defaults_are_those_of_peft(folder):
    import peft
    import transformers

    classifier = TextClassifier.from_preset(folder)
    LoRA().apply(classifier)
    ours = {
        (int(name.split("/")[0].rsplit("_", 1)[1]), name.rsplit("/", 1)[1]): part.delta
        for name, part in sublayers_of(classifier, Projection).items()
        if part.delta is not None
    }
    model = transformers.BertForSequenceClassification.from_pretrained(folder)
    model = peft.get_peft_model(model, peft.LoraConfig(task_type=peft.TaskType.SEQ_CLS))
    theirs = lora_layers(model)
    assert set(ours) == set(theirs) == set(TARGETS)
    for target, delta in ours.items():
        layer = theirs[target]
        assert (delta.rank, delta.scale) == (layer.r["default"], layer.scaling["default"])
        assert delta.input_dropout.rate == 0 and not getattr(layer.lora_dropout["default"], "p", 0)
        down, up = layer.lora_A["default"].weight, layer.lora_B["default"].weight
        assert not np.any(delta.up) and not up.detach().numpy().any()
        # The same uniform distribution: 192 draws come close to its ends.
        for drawn in (np.abs(delta.down).max(), down.detach().abs().max().item()):
            assert 0.9 / math.sqrt(SIZES["hidden_size"]) < drawn <= 1 / math.sqrt(SIZES["hidden_size"])


def test_dropout_is_on_the_input_of_the_change():
    """A sums its inputs of one and B hands the sum on: other places of the dropout give other sums."""
    torch, peft = pytest.importorskip("torch"), pytest.importorskip("peft")
    width, rate, alpha = 5, 0.5, 3.0
    rows = np.ones((200, width), "float32")
    keras.utils.set_random_seed(0)
    torch.manual_seed(0)
    delta = LowRankDelta(1, rank=1, alpha=alpha, dropout=rate)
    delta.build((None, width))
    delta.down.assign(np.ones((width, 1)))
    delta.up.assign(np.ones((1, 1)))
    config = peft.LoraConfig(r=1, lora_alpha=alpha, lora_dropout=rate, target_modules=["0"])
    model = peft.get_peft_model(torch.nn.Sequential(torch.nn.Linear(width, 1, bias=False)), config).train()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            weight.fill_(1.0 if "lora" in name else 0.0)
        theirs = model(torch.tensor(rows)).numpy()
    sums = {round(alpha / (1 - rate) * kept, 4) for kept in range(width + 1)}
    for found in (keras.ops.convert_to_numpy(delta(rows, training=True)), theirs):
        assert {round(float(value), 4) for value in found[:, 0]} == sums
    assert not np.any(delta(rows, training=False) - alpha * width)
