"""The delivery against scripted receivers on real loopback sockets."""
