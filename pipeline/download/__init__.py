"""The network at arm's length: what a download may reach, how much it may bring, and how long it may take."""
