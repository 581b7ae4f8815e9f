"""Say what presets are, without loading their weights.

    python examples/inspect_preset.py bert_12x192_en_uncased path/to/folder hf://owner/name

prints for each its family and sizes, vocabulary and tokenizer, parameters by part, memory, pooling and labels, where
the weights lie, and the licence that their folder states. Without a name it describes the embedded presets.
For the embedded preset, the parameters are 7,884,288 and the memory 31.5 MB in float32. `--json` prints the same for
programs, a JSON object a line.
"""

import json
import sys

from absl import flags

from tftransformer.experiments.commands import run_command

FLAGS = flags.FLAGS

flags.DEFINE_multi_string("name", None, "A preset's name, folder or handle; --name= may be left out.")
flags.DEFINE_boolean("json", False, "Print JSON.")


def main(_: list[str]) -> None:
    from tftransformer.checkpoints import embedded_presets
    from tftransformer.checkpoints.describe import describe

    for number, name in enumerate(FLAGS.name or embedded_presets()):
        description = describe(name)
        if FLAGS.json:
            print(json.dumps(description.to_dict()))
        else:
            print(f"{'' if number == 0 else chr(10)}{description}")


if __name__ == "__main__":
    # Commands here take flags alone; a bare word is a name.
    sys.argv[1:] = [word if word.startswith("-") else f"--name={word}" for word in sys.argv[1:]]
    run_command(main)
