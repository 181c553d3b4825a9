"""Files into samples."""
