"""Questions and answers of a probe, kept in a bundle and asked again."""
