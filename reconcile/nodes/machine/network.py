"""A node's Pod network: a pair of interfaces per Pod (CNI plugin ``ptp``), in a subnet of the node's own."""

from __future__ import annotations

from reconcile.model.json import encode

NETWORK_NAME = "reconcile"


def conflist(pod_subnet: str) -> bytes:
    """The CNI configuration list (CNI specification 0.4.0, which every runtime in use reads).

    Caveats:
        The Pods' addresses lie in 127.0.0.0/8, which the host routes to itself: a Pod can be executed in, but not be
        connected to by its address. A probe of kind ``exec`` works, one of kind ``httpGet`` does not.
    """
    return encode(
        {
            "cniVersion": "0.4.0",
            "name": NETWORK_NAME,
            "plugins": [
                {"type": "ptp", "ipMasq": False, "ipam": {"type": "host-local", "ranges": [[{"subnet": pod_subnet}]]}}
            ],
        }
    )
