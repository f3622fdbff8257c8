"""Hostile input, seeded: whatever is given, the answer is a typed refusal, and it comes soon."""
