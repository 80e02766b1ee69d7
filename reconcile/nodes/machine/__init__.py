"""A real node of this machine: kubelet, containerd and runc."""
