"""What people would use instead, measured with the same receiver in the same run.

install.py   puts everything into .bench/peers: no dependency, nothing is installed on the machine
brokers.py   starts what keeps the jobs, each on loopback, on a free port, in a folder that goes with it
peers.py     which there are: settings, durability, how they are asked
session.py   one run of one of them, and of ours
programs/    their producers and workers, in JavaScript and Python

python -m benchmarks.peers --help
"""
