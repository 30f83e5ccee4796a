"""`python -m probe` is `userns-probe`."""

from probe.cli import main

main()
