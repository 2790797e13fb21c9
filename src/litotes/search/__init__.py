"""Top-k search: exact over vectors, lexical over texts. Parts are imported from their own files."""
