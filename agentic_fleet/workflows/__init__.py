"""Thinking: a team of agents under a supervisor. Agent Framework and DSPy are used in this room and nowhere else."""
