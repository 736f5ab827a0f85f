"""One connection, many conversations: framed, multiplexed, symmetric; knows bytes, not what they mean."""
