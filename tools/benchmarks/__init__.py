"""The rows of the benchmark table. Each measures one bar of the project, beside its alternative where there is one."""
