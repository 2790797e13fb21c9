"""Ways to train a ranker, a model that reads the query and the document together."""
