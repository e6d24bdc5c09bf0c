"""`trimtab demo`: six backends, steady traffic, and three mishaps, before your eyes.

`fleet` starts the backends (`backend` is such a process), `traffic` calls them through a
balanced client and `record` keeps what happened; `scene` kills, slows and adds; `measure` draws
figures from the record. `board`, `lines`, `summary` and `picture` show them.
"""
