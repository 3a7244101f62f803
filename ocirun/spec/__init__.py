"""config.json: reading it into records, and saying what is wrong with it."""
