"""The guarded network client, with limits on what a download may reach, its size and its time."""
