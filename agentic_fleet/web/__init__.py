"""Talking: HTTP, SSE and WebSocket over the same runs. Starlette is used in this room and nowhere else."""
