"""`ocirun.run()`: one program in a container that is made for it, and goes with it."""
