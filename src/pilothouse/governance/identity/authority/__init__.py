"""The cluster's certificate authority: making it, issuing and checking certificates, renewal, rotation, join tokens.

Values in, values out: nothing here touches a store, a socket or a file. Keys and serial numbers come from the system's
randomness, times are arguments.
"""
