"""Mixed: negatives made of other negatives, in feature space."""
