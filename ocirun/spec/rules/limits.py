"""The rules of linux.resources without the device rules and without unified."""

from __future__ import annotations

from ..pointer import child

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from .. import model
    from .breach import Breach


def breaches(resources: model.Resources, at: str) -> Iterator[Breach]:
    memory = resources.memory
    # 2^64 - 1 is an int -1 that older Dockers wrote for "as it is".
    if memory is not None and memory.swappiness is not None and 100 < memory.swappiness < (1 << 64) - 1:
        yield f"{at}/memory/swappiness", "expected an integer from 0 to 100", str(memory.swappiness), ()
    if memory is not None and memory.limit is not None and memory.swap is not None and 0 < memory.swap < memory.limit:
        expected = f"expected at least the limit, {memory.limit}, for memory and swap together"
        yield f"{at}/memory/swap", expected, str(memory.swap), (f"{at}/memory/limit",)
    cpu = resources.cpu
    if cpu is not None and cpu.burst is not None and cpu.quota is not None and 0 < cpu.quota < cpu.burst:
        yield f"{at}/cpu/burst", f"expected at most the quota, {cpu.quota}", str(cpu.burst), (f"{at}/cpu/quota",)
    if resources.block_io is not None:
        for key, weight in (
            ("weight", resources.block_io.weight),
            ("leafWeight", resources.block_io.leaf_weight),
        ):
            if weight and not 10 <= weight <= 1000:  # Docker writes 0 for none
                yield f"{at}/blockIO/{key}", "expected an integer from 10 to 1000", str(weight), ()
        for index, device in enumerate(resources.block_io.weight_device):
            if device.weight is None and device.leaf_weight is None:
                yield f"{at}/blockIO/weightDevice/{index}", "expected a weight, a leafWeight or both", "neither", ()
    for name, limit in resources.rdma.items():
        if limit.hca_handles is None and limit.hca_objects is None:
            yield child(f"{at}/rdma", name), "expected hcaHandles, hcaObjects or both", "neither", ()
