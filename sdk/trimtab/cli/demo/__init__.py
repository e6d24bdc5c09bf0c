"""`trimtab demo`: six backends, steady traffic, and three incidents to watch.

`command` is the command. `scene` runs it: it starts `backends`, sends traffic through a balanced
client, kills, slows and adds an instance, and writes the `record`. `viewers` show the run while it
goes on, `results` afterwards.
"""
