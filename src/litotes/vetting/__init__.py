"""Which negatives to believe, at both scales. Parts are imported from their own files."""
