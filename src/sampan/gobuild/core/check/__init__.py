"""What in a project cannot work or will surprise: rules over its files, and safe repairs.

`settings` reads assignments of Go's variables wherever they stand; `gofiles` knows what a Go file
needs, `modules` what a build of packages needs, `commands` which builds a line of shell runs and
where, `reach` which of them a setting is for. `makefiles`, `dockervalues` and `workflows` follow
values through variables; `dockerfiles`, `pipelines` and `clusters` know where values are lost.
"""
