"""LAION-Aesthetics and similar lists as a source: parquet of URLs and captions, filtered, sampled, downloaded."""
