"""Picture -> condition, one file per condition, usable on their own at inference time."""
