"""Contract tests that run over every installed task, trainer and engine, those of other packages too.

    pytest --pyargs harness.testing -k my_plugin

`-k` takes the name of an entry point; without it, everything that is installed is tested. Needs pytest. A task whose
data is not on this machine, and an engine that cannot do without options, are skipped with the reason.
"""
