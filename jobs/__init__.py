"""One thin module per command; nothing imports this package."""
