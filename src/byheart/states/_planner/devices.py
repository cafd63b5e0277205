"""Accelerators by name: what they compute, hold and copy; each figure with its source."""

from __future__ import annotations

from dataclasses import dataclass, replace

from byheart.core.errors import UnknownName, UsageError

__all__ = ["DEVICES", "Device", "device_of"]

GIB = 2**30
MIB = 2**20


@dataclass(frozen=True)
class Device:
    """One accelerator in its usual host.

    Attributes:
        name: As it is asked for.
        flops: Peak dense FLOP/s in bfloat16 (float16 where there is none).
        memory: Bytes on the device.
        link: Bytes a second between device and host, one way, as specified.
        uplink: How many devices of a host share one such link when all of them copy.
        peer: Bytes a second between devices of a host, one way; 0 where they talk through `link`.
        host_memory: Bytes of host memory that one device may take.
        matmul: Share of the peak that matrix products reach; an assumption.
        attention: The same for attention's forward pass, in its own FLOPs.
        attention_back: The same for its backward pass.
        source: Where the figures come from.
    """

    name: str
    flops: float
    memory: int
    link: float
    peer: float
    host_memory: int
    matmul: float
    attention: float
    attention_back: float
    source: str
    uplink: int = 1

    def __post_init__(self) -> None:
        for what in ("flops", "memory", "link"):
            if not 0 < getattr(self, what) < float("inf"):
                raise UsageError(f"{what} is {getattr(self, what)}; it must be positive")
        for what in ("peer", "host_memory"):
            if not 0 <= getattr(self, what) < float("inf"):
                raise UsageError(f"{what} is {getattr(self, what)}; it must not be negative")
        for what in ("matmul", "attention", "attention_back"):
            if not 0 < getattr(self, what) <= 1:
                raise UsageError(f"{what} is {getattr(self, what)}; a share above 0, at most 1")

    def copying(self, count: int) -> float:
        """Bytes a second that one of `count` devices can count on, each way, when all copy."""
        return self.link / max(1, min(self.uplink, count)) * LINK_SHARE


LINK_SHARE = 0.8
"""What a pinned copy gets of the link's specified rate; an assumption (PCIe's packets and headers)."""

# Nine tenths of the best that the kernels' papers report, so that causal masks and the tails of a
# sequence have their room: FlashAttention-2 (arXiv 2307.08691) reaches 73 % of an A100's peak
# forward and 63 % backward; FlashAttention-3 (arXiv 2407.08608) 75 % of an H100's forward, and its
# figures show about 57 % backward. Matrix products: what large ones keep up on these chips, 75 % on
# Ampere and Ada and 65 % on Hopper and Blackwell, which run into their power limit.
_AMPERE = (0.75, 0.66, 0.57)
_HOPPER = (0.65, 0.675, 0.51)

_GEN3, _GEN4, _GEN5 = 16e9, 32e9, 64e9  # PCIe x16, one way

# On boards of eight (HGX, DGX) two devices sit behind one PCIe switch and share its x16 uplink.
_PAIRED = {"a100", "a100-40gb", "a800", "h100", "h800", "h200", "b200"}

# name: peak, memory in MiB as nvidia-smi shows it, link, peer, host GiB a device, shares, source
_TABLE: dict[str, tuple[float, int, float, float, int, tuple[float, float, float], str]] = {
    "a100": (312e12, 81920, _GEN4, 300e9, 256, _AMPERE,
             "NVIDIA A100 80GB SXM datasheet; DGX A100 with 2 TB for 8"),
    "a100-40gb": (312e12, 40960, _GEN4, 300e9, 128, _AMPERE,
                  "NVIDIA A100 40GB SXM datasheet; DGX A100 with 1 TB for 8"),
    "a800": (312e12, 81920, _GEN4, 200e9, 256, _AMPERE,
             "an A100 80GB with NVLink at 400 GB/s; 2 TB for 8 (the paper, section 5.1)"),
    "h100": (989e12, 81559, _GEN5, 450e9, 256, _HOPPER,
             "NVIDIA H100 SXM datasheet; DGX H100 with 2 TB for 8"),
    "h800": (989e12, 81559, _GEN5, 200e9, 256, _HOPPER,
             "an H100 SXM with NVLink at 400 GB/s; 2 TB for 8"),
    "h200": (989e12, 143771, _GEN5, 450e9, 256, _HOPPER,
             "NVIDIA H200 SXM datasheet; DGX H200 with 2 TB for 8"),
    "gh200": (989e12, 97871, 450e9, 450e9, 480, _HOPPER,
              "NVIDIA GH200 datasheet: NVLink-C2C at 900 GB/s both ways, 480 GB of LPDDR5X"),
    "b200": (2250e12, 183359, _GEN5, 900e9, 256, (0.65, 0.60, 0.45),
             "NVIDIA DGX B200 datasheet, dense; 2 TB for 8; shares of attention assumed"),
    "mi300x": (1307e12, 196288, _GEN5, 448e9, 256, (0.55, 0.40, 0.30),
               "AMD Instinct MI300X datasheet, dense; 2 TB for 8; all shares assumed"),
    "l40s": (362e12, 46068, _GEN4, 0, 128, _AMPERE,
             "NVIDIA L40S datasheet, dense; 1 TB for 8 assumed"),
    "rtx4090": (165e12, 24564, _GEN4, 0, 64, _AMPERE,
                "NVIDIA Ada whitepaper, dense with float32 accumulation; 64 GiB assumed"),
    "rtx3090": (71e12, 24576, _GEN4, 0, 64, _AMPERE,
                "NVIDIA GA102 whitepaper, dense with float32 accumulation; 64 GiB assumed"),
    "v100": (125e12, 32768, _GEN3, 150e9, 192, (0.75, 0.35, 0.30),
             "NVIDIA V100 SXM2 32GB datasheet, float16; 1.5 TB for 8; shares of attention assumed"),
}  # fmt: skip

DEVICES: dict[str, Device] = {
    name: Device(
        name, flops, mib * MIB, link, peer, host * GIB, *shares, source, 2 if name in _PAIRED else 1
    )
    for name, (flops, mib, link, peer, host, shares, source) in _TABLE.items()
}
"""Accelerators by name."""


def device_of(device: Device | str, **other: float | None) -> Device:
    """A device by name, with other figures where some are given.

    Args:
        device: A name of `DEVICES` (capitals do not matter), or a `Device`.
        other: Its attributes; None leaves one as it is.

    Raises:
        UnknownName: If there is no such device.
        UsageError: If a figure is impossible.

    >>> device_of("H200", link=50e9).link
    50000000000.0
    """
    if isinstance(device, str):
        if device.lower() not in DEVICES:
            raise UnknownName("device", device, DEVICES)
        device = DEVICES[device.lower()]
    changed = {k: v for k, v in other.items() if v is not None}
    if not changed:
        return device
    told = f"{device.source}; given by the caller: {', '.join(sorted(changed))}"
    if "link" in changed:
        changed.setdefault("uplink", 1)  # a rate that was measured or looked up is one's own
    return replace(device, source=told, **changed)  # type: ignore[arg-type]
