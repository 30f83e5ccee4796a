"""Facts of the devices that container runtimes give to Pods: CDI specifications, device nodes, NVIDIA's toolkit."""
