"""Names that other projects give to tensors and settings, family by family: pure data."""
