"""Keep a service running in a container, and run other programs beside it."""

import sys

import ocirun

runtime = ocirun.Runtime()
spec = ocirun.Spec.default(["/bin/sh", "-c", "echo ready; exec sleep 1000"], rootfs=sys.argv[1])

with runtime.create("service", spec, stdout=ocirun.PIPE) as service:
    service.start()
    assert service.init.stdout
    print("service:", service.init.stdout.readline().decode().strip())

    result = service.run(["/bin/sh", "-c", "echo $$; cat"], input="to be shown\n", text=True)
    print("beside it:", result.stdout.split("\n")[1])

    slow = service.run(["/bin/sleep", "1000"], timeout=0.5)
    print("slow:", slow.reason)

    with service.exec(["/bin/cat"], stdin=ocirun.PIPE, stdout=ocirun.PIPE) as process:
        assert process.stdin and process.stdout
        process.stdin.write(b"to and fro\n")
        print("connected:", process.stdout.readline().decode().strip())

    print("status:", service.state().status)
print("left:", [state.id for state in runtime.list()])
