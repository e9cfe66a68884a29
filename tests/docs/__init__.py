"""The documentation: its blocks, its site, and what is deployed by it."""
