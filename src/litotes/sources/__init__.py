"""Where negatives come from, at both scales. Parts are imported from their own files."""
