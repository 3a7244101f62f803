"""Build a configuration, look at what it would do, and write it down."""

import sys

import ocirun

spec = (
    ocirun.Spec.default(["/bin/sh", "-c", "hostname; cat /data/word"], rootfs=sys.argv[1])
    .replace(hostname="built", env={"PATH": "/bin"}, user=(1000, 1000))
    .set("/linux/resources/memory", {"limit": 64 << 20})
    .set("/linux/resources/pids/limit", 16)
    .set("/mounts/-", {"destination": "/data", "type": "bind", "source": sys.argv[2], "options": ["rbind", "ro"]})
)

wrong = spec.set("/process/cwd", "not/absolute").set("/linux/resources/pids/limit", "many")
for problem in wrong.validate().problems:
    print("wrong:", problem)

assert spec.validate()
runtime = ocirun.Runtime()
print("operations:", [row["operation"] for row in runtime.plan(spec).to_list()].count("mount"), "mounts")
assert ocirun.Spec.from_json(spec.to_json()) == spec
print("exit code:", runtime.run("built", spec))
