"""The program that runs inside containers, and how it gets there."""
