"""Exact clustering of points on a kd-tree: kernels on plain arrays that know nothing of pictures."""
