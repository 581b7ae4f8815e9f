"""Which fine-tuning strategy for how much data: one table and one plot.

    python examples/compare_strategies.py --strategies=full,freeze:8,lora:8,head --train_examples=50,200 --seeds=3

trains each strategy on the same 50 and 200 rows of the embedded sample with each of three seeds, always for as many
updates, and ends with a table: accuracy on the test rows, the difference to the first strategy seed by seed, how many
parameters trained, and how long it took. Everything is left in `runs/sample-strategies`, with `comparison.png`;
interrupted, the same command goes on, and further strategies, sizes and seeds join the same table.

    python examples/compare_strategies.py --dataset=tickets.csv --train_examples=100,1000 --learning_rates=1e-4,3e-4,1e-3

lets each strategy have the rate that is best for it on the validation rows.
"""

from tftransformer.runs.commands import compare_strategies, run_program

if __name__ == "__main__":
    # A flag for each field of TableOptions, and those of ClassificationOptions that it takes.
    run_program(compare_strategies)
