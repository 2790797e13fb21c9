"""Sources that remember: features of earlier steps as further candidates."""
