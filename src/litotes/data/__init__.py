"""Collections in and out, encoders, and what they are made of."""
