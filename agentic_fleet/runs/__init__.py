"""Running: the service's task group, and the runs that live in it. Connections only watch."""
