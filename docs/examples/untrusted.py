"""Run code that nobody trusts, and say why it ended."""

import ocirun

SNIPPETS = {
    "works": "print(6 * 7)",
    "fails": "1 / 0",
    "eats": "x = bytearray(1 << 30)",
    "forks": "import os\nfor _ in range(99): os.fork() or os.sched_yield()",
    "hangs": "while True: pass",
    "pries": "print(open('/etc/shadow').read())",
}

for name, code in SNIPPETS.items():
    result = ocirun.run(
        ["python3", "-c", code],
        timeout=2,
        limits=ocirun.Limits(memory="128M", pids=16, cpus=0.8, file_size="10M"),
        text=True,
    )
    last = (result.stdout or result.stderr).strip().rpartition("\n")[2]
    print(f"{name}: {result.reason}, exit code {result.exit_code}, signal {result.signal}: {last}")
