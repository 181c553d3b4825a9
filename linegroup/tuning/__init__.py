"""Choosing settings by trying them: of the grouping, on maps that are computed once."""
