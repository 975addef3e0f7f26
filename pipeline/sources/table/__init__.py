"""Tables that hold pictures, or name their files: parquet as `datasets` writes it, CSV, TSV, JSON lines."""
