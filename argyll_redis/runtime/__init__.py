"""The only layer that waits: engines, committing, keeping, following."""
