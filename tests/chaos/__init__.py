"""Real processes under faults: engines that are killed while flows of many shapes run."""
