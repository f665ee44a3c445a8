"""BuildKit's protocol: builds led by `docker buildx`, files and keys asked of its session.

`core` reads options and messages and writes news and errors, and knows what may travel; `shell` has
sessions, contexts, builds under way and where their results go; `api` is the services.
"""
