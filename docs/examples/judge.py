"""Judge submissions in parallel: each with the same input, and what it should print."""

from concurrent.futures import ThreadPoolExecutor

import ocirun

SUBMISSIONS = {
    "ann": "print(sum(int(word) for word in input().split()))",
    "bob": "a, b = input().split(); print(a + b)",
    "eve": "while True: print('flood')",
}


def judge(code: str) -> str:
    result = ocirun.run(
        ["python3", "-c", code],
        input="20 22\n",
        timeout=5,
        limits=ocirun.Limits(memory="64M", pids=4),
        max_output="4K",
        text=True,
    )
    if not result.ok:
        return f"failed ({result.reason})"
    return "right" if result.stdout == "42\n" else "wrong"


with ThreadPoolExecutor(max_workers=4) as pool:
    for name, verdict in zip(SUBMISSIONS, pool.map(judge, SUBMISSIONS.values()), strict=True):
        print(name, verdict)
