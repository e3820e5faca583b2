"""A network of namespaces on one machine, for the demo, the tests, and the benchmarks."""
