"""What is read from, or asked of, the running system, outside of any container."""
