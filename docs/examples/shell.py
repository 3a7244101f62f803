"""A shell on a terminal: type something, read what it says, change its size."""

import sys

import ocirun

spec = ocirun.Spec.default(["/bin/sh"], rootfs=sys.argv[1]).replace(env={"PATH": "/bin", "PS1": "> "})

with ocirun.Runtime().create("shell", spec, terminal=(24, 80)) as container:
    terminal = container.init.terminal
    assert terminal
    container.start()
    terminal.resize(rows=40, columns=120)
    terminal.write(b"stty size; exit 3\n")
    text = b""
    while data := terminal.read():
        text += data
    print(text.decode().replace("\r\n", "\n"))
    print("exit code", container.wait())
