"""The log, the dispatch streams, the due entries, the catalog and the indexes, kept in Redis or in memory."""
