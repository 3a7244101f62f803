"""Judges an OCI runtime by its command line alone.

The register says what the specification wants, the cases try it on the runtime, a probe inside the container reads it
back from the kernel, and the reports say which requirement was kept, with the command lines that show it.
"""
