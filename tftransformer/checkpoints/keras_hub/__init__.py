"""keras-hub's presets (its old name: keras-nlp): by name, by handle, or a folder on disk."""
