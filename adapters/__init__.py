"""The frozen base, the adapters, and the loop that trains one on the stream."""
