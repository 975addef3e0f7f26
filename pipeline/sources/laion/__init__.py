"""LAION-Aesthetics and its kin as a source: parquet of URLs and captions, filtered, sampled, downloaded."""
