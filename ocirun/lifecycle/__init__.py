"""The verbs of a container's life, a file for each."""
