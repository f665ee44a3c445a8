"""Dockerfiles: from text to typed instructions, with the place of everything for diagnostics.

`source` cuts the text into logical lines and here-documents, `words` splits and expands, `parse`
makes `instructions`, `stages` groups them, `ignore` decides what of a context is left out, and
`checks` warns of what works but will surprise. All of it is pure.

Source: the Dockerfile reference of Docker's documentation.
"""
