"""What operators watch: figures on the agent and on its processes, for Prometheus."""
