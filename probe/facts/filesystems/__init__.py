"""Live attempts at idmapped mounts and the meaning of their errnos."""
