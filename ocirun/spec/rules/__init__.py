"""What a configuration must keep beyond types and ranges."""
