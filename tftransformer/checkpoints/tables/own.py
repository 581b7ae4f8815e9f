"""Our own folders: a tensor's name is its address."""

from tftransformer.checkpoints.rules import Ignored, Rule, Table

OWN = Table(
    name="tftransformer",
    rules=(
        Rule("head/{path}", ("head/{path}",), may_differ=True),
        Rule("{path}", ("{path}",)),
    ),
    ignored=(
        Ignored(r"(head|lm_head)/.*", "the model has no such head"),
        Ignored(r"pooler/.*", "the model has no pooler"),
        Ignored(r"extra_block_\d+/.*", "the model has no extra blocks"),
    ),
)
