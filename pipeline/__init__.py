"""Shard in, shard out: everything between a source of pictures and a stream of samples."""
