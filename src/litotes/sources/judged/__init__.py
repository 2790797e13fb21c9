"""Sources that ask judges: models or people who say of a pair whether it belongs together."""
