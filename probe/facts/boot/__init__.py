"""The next boot: boot loader, kernels, sysctl files and mounts, as they are on disk."""
