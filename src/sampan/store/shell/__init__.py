"""The store's I/O: write-ahead log files, LMDB backend, data directory, clocks and timers."""
