"""Attacks, speed and the demo, measured on real servers.

demo: a protected model, with honest users and thieves. range, attacks: what users and thieves pay on several kinds of
data, and the paper's attacks. speed, added_time, growth, resnet: what an answer takes. serving: a server under load,
floods and malformed requests. mint, peers, ledgers: parts of the gate beside others that do the same. records:
detection of thieves. results, pictures: pages and pictures of the documentation. digits: the demo's victim.
"""

import logging

# TorchServe warns of every optional accelerator that is not installed.
logging.getLogger("ts").setLevel(logging.ERROR)
