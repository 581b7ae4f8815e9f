"""A checkpoint in another structure: fewer blocks, other positions, new tokens."""
