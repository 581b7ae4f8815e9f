"""Readers: files and data sets into tables, and tables into splits."""
