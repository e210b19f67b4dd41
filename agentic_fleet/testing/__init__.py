"""For integration tests: a model that plays a script, and the service as a process of its own."""
