"""What do residual connections really do? Networks, experiments, measurements and verdicts."""
