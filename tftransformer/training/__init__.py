"""Training: what `compile` and `fit` of a task mean; `fit.py` reads from top to bottom."""
