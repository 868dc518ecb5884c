"""One policy for many machines: signed bundles, the places that they come from, and roll-outs by a share of nodes.

    policy files --build, sign--> bundle --push--> source --fetch--> node: verify, choose, put in force, report

Nothing here talks to a network unless a program configures a source, or a command names one.
"""
