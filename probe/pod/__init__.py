"""The Pod question: will this very Pod run with a user namespace on that node? Pure; it knows no host."""
