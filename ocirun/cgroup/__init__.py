"""Control groups, versions 1 and 2: where a container's is to be, its limits, and who is in it."""
