"""Fifty programs at once, in one thread."""

import asyncio

from ocirun import Limits, aio


async def square(number: int) -> int:
    result = await aio.run(
        ["sh", "-c", f"sleep 0.5; echo $(({number} * {number}))"],
        limits=Limits(memory="32M", pids=8),
        timeout=60,
        text=True,
        check=True,
    )
    return int(result.stdout)


async def main() -> None:
    squares = await asyncio.gather(*[square(number) for number in range(50)])
    print(sum(squares))


asyncio.run(main())
