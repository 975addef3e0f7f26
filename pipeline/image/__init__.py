"""Pictures: reading files of unknown origin, the geometry of a dataset, and the bytes that are stored."""
