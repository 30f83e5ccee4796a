"""What is known of nested containers."""
