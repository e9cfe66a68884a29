"""Two fixtures: `simulated`, an engine on virtual time, and `simulated_network`, where its webhooks go."""

pytest_plugins = ["aq.sim.fixtures"]
