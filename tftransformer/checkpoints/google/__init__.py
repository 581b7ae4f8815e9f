"""Google's TensorFlow releases of BERT, ALBERT and ELECTRA, and Model Garden's checkpoints."""
