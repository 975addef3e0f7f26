"""Tables of others, whatever they hold: parquet and lines of text, their columns, URLs and captions."""
