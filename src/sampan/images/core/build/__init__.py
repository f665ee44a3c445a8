"""What a build has to do, decided without doing it.

`evaluate` turns a Dockerfile, its arguments and the configurations of its base images into a graph
of `steps` and, for each stage, the image's configuration; `history` is what `docker history` shows.
"""
