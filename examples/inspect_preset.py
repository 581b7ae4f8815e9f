"""Say what presets are, without loading their weights.

    python examples/inspect_preset.py bert_12x192_en_uncased path/to/folder hf://owner/name

prints for each its family and sizes, vocabulary and tokenizer, parameters by part, memory, pooling and labels, where
the weights lie, and the licence that their folder states. Without a name it describes the embedded presets.
For the embedded preset, the parameters are 7,884,288 and the memory 31.5 MB in float32. `--json` prints the same for
programs, a JSON object a line.
"""

from tftransformer.runs.commands import inspect_preset, run_program

if __name__ == "__main__":
    # A flag for each field of InspectionOptions.
    run_program(inspect_preset)
