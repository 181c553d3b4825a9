"""Groups into polylines and files."""
