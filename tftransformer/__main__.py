"""`python -m tftransformer classify --dataset=tickets.csv` and the other commands; alone, it lists them."""

import sys

from tftransformer.runs.commands.running import main

if __name__ == "__main__":
    main(sys.argv[1:])
