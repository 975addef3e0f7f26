"""The guarded network client: what a download may reach, how much it may bring, and how long it may take."""
