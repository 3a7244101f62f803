"""Everything here is run by an ordinary user, without any privilege."""

import ocirun

result = ocirun.run(["id"], text=True, check=True)
print(result.stdout.strip())

try:
    ocirun.run(["true"], limits=ocirun.Limits(memory="64M"))
    print("this user has a cgroup of its own")
except ocirun.HostError as error:
    print("no limits:", error.hint)

result = ocirun.run(["true"], limits=ocirun.Limits(memory="64M", file_size="1M", required=False))
print("done without:", *result.without)

slow = ocirun.run(["sleep", "100"], timeout=0.5)
print(slow.reason, f"after {slow.usage.wall:.0f} s" if slow.usage.wall > 1 else "in time")
