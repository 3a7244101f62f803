"""What is kept on disk below --root, and the state document."""
