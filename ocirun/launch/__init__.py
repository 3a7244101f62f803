"""Running a plan: the init is spawned and talked with, and the operations of the runtime itself are performed."""
