"""The only code that touches files, processes and the kernel."""
