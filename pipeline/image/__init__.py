"""Pictures: reading what strangers wrote, the geometry of a dataset, and the bytes that are stored."""
