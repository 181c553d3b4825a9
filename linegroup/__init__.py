"""linegroup: pictures of lines go in, every line comes out as its own object.

Importing this package loads no torch, no Ray and no MLflow.
"""

__version__ = "0.1.0"
