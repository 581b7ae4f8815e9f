"""Say what presets are, without loading their weights.

    python -m tftransformer inspect_preset bert_12x192_en_uncased path/to/folder hf://owner/name

prints for each its family and sizes, vocabulary and tokenizer, parameters by part, memory, pooling and labels, where
the weights lie, and the licence that their folder states. Without a name it describes the embedded presets.
For the embedded preset, the parameters are 7,884,288 and the memory 31.5 MB in float32. `--json` prints the same for
programs, a JSON object a line.
"""

import dataclasses
import json

from tftransformer.runs.flags import OptionFlags, option


@dataclasses.dataclass(frozen=True)
class InspectionOptions:
    """Presets to describe, and the form of the output."""

    name: tuple[str, ...] | None = option(None, "A preset's name, folder or handle; --name= may be left out.")
    json: bool = option(False, "Print JSON, an object a line.")


FLAGS = (OptionFlags(InspectionOptions),)
# What a word that is no flag is the value of.
WORDS = "name"


def run(options: InspectionOptions) -> None:
    """Print what each preset is; without a name, the embedded ones."""
    from tftransformer.checkpoints import embedded_presets
    from tftransformer.checkpoints.describe import describe

    for number, name in enumerate(options.name or embedded_presets()):
        description = describe(name)
        if options.json:
            print(json.dumps(description.to_dict()))
        else:
            print(f"{'' if number == 0 else chr(10)}{description}")
