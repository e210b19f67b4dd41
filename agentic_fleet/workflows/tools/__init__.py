"""What agents can do besides talking."""
