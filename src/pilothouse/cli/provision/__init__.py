"""Making another machine a node over SSH: look at it, judge, install, join. Pure judgement; one module speaks SSH.

`facts` asks and reads the answers, `preflight` judges them, `bundle` says what is sent, `remote` is the connection,
`steps` is the order. Nothing here knows the server; tokens come from the API as for everybody.
"""
