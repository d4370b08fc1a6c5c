"""The benchmark harness: grids of runs, statistics over seeds, and a report."""
