"""Contenders side by side: each in a process of its own, turns interleaved, medians and ratios out."""
