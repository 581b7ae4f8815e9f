"""Search for the learning rate, the epochs and the fine-tuning strategy that validate best.

    python examples/search.py --strategies=full,freeze:8,lora:8 --learning_rate=1e-5,1e-3 --epochs=2,5 --trials=20

tries twenty recipes on the embedded sample and ends with a table of them, the best first, and the best model's report
on the test split, which had no part in the choice. Everything is left in `runs/sample-search`, `quality.png` (quality
against learning rate, coloured by strategy) among it. Interrupted or given more trials, the same command goes on.
"""

from tftransformer.runs.commands import run_program, search

if __name__ == "__main__":
    # A flag for each field of SearchOptions, and those of ClassificationOptions that it takes.
    run_program(search)
