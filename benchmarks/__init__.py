"""Benchmarks: what guesthouse costs beside the C floor and beside its peers, as ratios within one run."""
