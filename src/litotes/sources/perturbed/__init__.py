"""Sources that make a candidate by changing one that is there."""
