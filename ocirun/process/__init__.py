"""Processes of containers, as this program sees them: what is waited for, their streams, terminals, their end."""
