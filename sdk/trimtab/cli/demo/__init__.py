"""`trimtab demo`: six backends, steady traffic, and three events to watch.

`command` is the command. `run` carries it out: it starts `backends`, sends traffic through a
balanced client, kills, slows and adds an instance, and writes the `record`. `viewers` show the run
while it goes on, `results` afterwards.
"""
