"""What in a project cannot work or will surprise: rules over its files, and safe repairs.

`settings` reads assignments of Go's variables wherever they stand; `gofiles` knows what the sources
need; `dockerfiles`, `pipelines` and `clusters` know where values are lost on their way.
"""
