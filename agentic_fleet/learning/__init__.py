"""Getting better: what runs did is kept, scored, and told to those who can learn from it."""
