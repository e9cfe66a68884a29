"""Programs that measure or torture a real server. Each states what it does when run with --help."""
