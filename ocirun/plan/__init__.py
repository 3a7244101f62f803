"""From a configuration, facts about the host and a command line to a list of operations: pure data."""
