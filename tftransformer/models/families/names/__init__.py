"""What tables of tensor names are written with: the form of a table, and the idioms of each source."""
