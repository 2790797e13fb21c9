"""What meets what in a batch, and when."""
