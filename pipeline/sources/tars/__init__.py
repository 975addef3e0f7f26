"""WebDataset shards of others as a source: their pictures, captions and JSON."""
