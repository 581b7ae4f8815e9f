"""The facts about a family of models: defaults, tokenizer, and its names in each source of checkpoints."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from tftransformer.models.families.names.tables import Table

# What the special tokens are called in a tokenizer's settings, in the order of `TokenizerFacts.special`.
ROLES = ("unknown_token", "pad_token", "start_token", "separator_token", "mask_token")
# The kinds of tokenizers there are (`text.spec.KINDS`), as their authors write them.
TOKENIZER_TITLES: dict[str, str] = {
    "wordpiece": "WordPiece",
    "byte_bpe": "byte-level BPE",
    "character_bpe": "SentencePiece's BPE",
    "sentencepiece": "SentencePiece",
}


@dataclasses.dataclass(frozen=True)
class TokenizerFacts:
    """The tokenizer that checkpoints of a family come with as a rule.

    Args:
        kind: One of `text.spec.KINDS`.
        special: Special tokens as it writes them, in the order of `ROLES`.
        pair_separators: Number of separators between two texts.
        fairseq_ids: Whether the ids are fairseq's: the library's file has them in another order (XLM-RoBERTa).
        split: How byte-level BPE splits texts into words (`text.byte_words.SPLITS`) where vocab.json and merges.txt are all
            there is. None: its checkpoints differ, and tokenizer.json has to say it.
        add_start_token: Whether a source begins with the start token, as everywhere but in T5.
        nfc: Whether texts are composed before (Unicode's NFC), where those two files are all there is.
    """

    kind: str
    special: tuple[str, str, str, str, str]
    pair_separators: int = 1
    fairseq_ids: bool = False
    split: str | None = "r50k"
    nfc: bool = False
    add_start_token: bool = True

    @property
    def roles(self) -> dict[str, str]:
        """The special tokens as settings of a tokenizer."""
        return dict(zip(ROLES, self.special, strict=True))


@dataclasses.dataclass(frozen=True)
class HuggingFace:
    """A family in Hugging Face's folders; `checkpoints.huggingface.settings` translates the settings either way.

    Args:
        model_type: Their name of the family.
        classes: Start of their classes' names ("Bert" of "BertModel").
        prefix: Prefix of the encoder's tensors in a task's model.
        table: Names of the tensors.
        settings: Mapping between their settings and the fields of `TransformerConfig` that they are.
        defaults: Values that their configuration class assumes for settings that a file leaves out.
        required: Settings of this family with the only value that can be loaded.
        fixed: Fields that the family has no setting for.
        written: Further settings that are written.
        language_model: End of the name of their class with the head of pretraining.
        activation: Name of their setting of the activation.
        head_dropout: Name of their setting of the classifier's dropout.
        default_head_dropout: Dropout of the classifier where a file leaves it out; None: the encoder's dropout.
        begin: Names of their settings of the ids that a target begins with; a setting that is None has none.
        positions_after_padding: Whether position 0 has the row after the padding token's id (RoBERTa), and the number
            of positions counts the rows before it.
        projection_only_where_needed: Whether there is no projection where the embeddings are as wide as the blocks.
        rotary: Whether config.json states the wavelengths of rotary positions.
    """

    model_type: str
    classes: str
    prefix: str
    table: Table
    settings: Mapping[str, str]
    defaults: Mapping[str, Any]
    required: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    fixed: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    written: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    language_model: str = "ForMaskedLM"
    activation: str = "hidden_act"
    head_dropout: str = "classifier_dropout"
    default_head_dropout: float | None = None
    begin: tuple[str, ...] = ()
    positions_after_padding: bool = False
    projection_only_where_needed: bool = False
    rotary: bool = False


@dataclasses.dataclass(frozen=True)
class KerasHub:
    """A family in keras-hub's presets.

    Args:
        classes: Start of their classes' names ("Bert" of "BertBackbone").
        table: The names of the variables, in a backbone and in a classifier on it.
        settings: Mapping between arguments of their backbone and the fields of `TransformerConfig` that they are.
        fixed: Fields that their backbone has no argument for.
        required: Other arguments of their backbone, with the only value that can be loaded.
        pooler: Whether their backbone holds a dense layer on the first token.
        projection_only_where_needed: Whether there is no projection where the embeddings are as wide as the blocks.
    """

    classes: str
    table: Table
    settings: Mapping[str, str]
    fixed: Mapping[str, Any]
    required: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    pooler: bool = False
    projection_only_where_needed: bool = False

    @property
    def backbone(self) -> str:
        """The name of their backbone's class."""
        return f"{self.classes}Backbone"

    @property
    def tokenizer(self) -> str:
        """The name of their tokenizer's class."""
        return f"{self.classes}Tokenizer"

    @property
    def classifiers(self) -> tuple[str, str]:
        """The name of their classifier's class, and what it was called before."""
        return f"{self.classes}TextClassifier", f"{self.classes}Classifier"


@dataclasses.dataclass(frozen=True)
class Google:
    """A family among Google's TensorFlow checkpoints, whose settings Hugging Face took over by name.

    Args:
        table: The names of the first generation's tensors (TensorFlow 1).
        activations: Mapping from their name of an activation to Hugging Face's.
        settings: The name of the file that holds the settings; None: they follow from the weights.
        head_width: Width of a head, where the settings follow from the weights.
        model_garden: The names of Model Garden's tensors (TensorFlow 2), where it has the family. Its layers are
            numbered in one row, so there are more placeholders in it: `{root}`, what stands before the encoder's
            tensors, `{i+4}`, the block's number and 4, and `{n+4}`, the number of blocks and 4.
    """

    table: Table
    activations: Mapping[str, str]
    settings: str | None = None
    head_width: int | None = None
    model_garden: Table | None = None


@dataclasses.dataclass(frozen=True)
class Family:
    """One family of models: all that is known of it.

    Args:
        name: Name here, which is that of its module.
        title: Name as its authors write it.
        defaults: Fields of `TransformerConfig` that it fixes unless the caller says otherwise.
        architecture: Builder that makes its models (`models.builders.ARCHITECTURES`): "encoder", "decoder" or
            "encoder_decoder".
        tokenizer: Tokenizer that its checkpoints come with; None where none load.
        pooler_activation: Activation behind the dense layer on the first token.
        pooler_dropout: Whether its authors' classifiers have dropout before that layer, too.
        pretrained_pooler: Whether that layer is part of what was pretrained, not of a classifier's head.
        huggingface: Facts about folders of Hugging Face's layout and `hf://`; None where it does not load from there.
        keras_hub: Facts about keras-hub's presets, by name, handle and folder; None as before.
        google: Facts about Google's TensorFlow checkpoints; None as before.
    """

    name: str
    title: str
    defaults: Mapping[str, Any]
    architecture: str = "encoder"
    tokenizer: TokenizerFacts | None = None
    pooler_activation: str = "tanh"
    pooler_dropout: bool = False
    pretrained_pooler: bool = False
    huggingface: HuggingFace | None = None
    keras_hub: KerasHub | None = None
    google: Google | None = None
