"""Building blocks of the tables of tensor names: the form of a table, and the idioms of each source."""
