"""Training: rows of evidence, batches of signs, and runs on well-kept trainers."""
