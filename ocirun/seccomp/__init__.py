"""Compiling linux.seccomp to BPF, and keeping the result."""
