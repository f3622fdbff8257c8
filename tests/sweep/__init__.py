"""The crash sweep: a process is struck at each of its calls of Redis, and another one finishes its flow."""
