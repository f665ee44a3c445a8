"""The Go doctor's reading of files; the results are the core's values."""
