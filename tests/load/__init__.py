"""Load: what the service costs beside two floor apps that only pass a model's stream on.

`scripts/bench` runs it (__main__.py). Everything is started here, on loopback: a model that sends time stamps for
tokens (source.py), the service and the floors (subjects.py, floors.py), and a crowd of clients (crowd.py). Other work
on the machine moves every figure, so subjects take turns in rounds, and what counts are the ratios within a round.

Linux only: CPU clocks of other processes, /proc, epoll.
"""
