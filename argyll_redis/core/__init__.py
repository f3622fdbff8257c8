"""The pure core: planning, folding, deciding. No I/O, no clock, no randomness, no `await`."""
