"""Small worlds that several claims share: real data, drawn anew by seed."""
