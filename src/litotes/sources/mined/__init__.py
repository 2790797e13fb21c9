"""Sources that rank the corpus for an anchor. Parts are imported from their own files."""
