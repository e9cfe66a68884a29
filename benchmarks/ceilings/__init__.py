"""What nothing built on the same parts can be faster than; each is a program (`aq.bench.programs`)."""
