"""One module per subcommand of `smartmob`, found by its file name: declaration and body.

The docstring of a module is the help of its subcommand, and the first line the short help, which
`smartmob --help` reads without an import.  `command` is the click command; it returns the exit
code.  What takes long to import, such as trio and the client, is imported in the functions that
use it, so that help and completion of the subcommand come at once.
"""
