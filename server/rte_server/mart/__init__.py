"""Customer State: what a customer data mart in a SQL database says about the people of live sessions.

`schema` finds the tables, `database` runs queries, `values` makes plain values of what drivers give, `states` remembers
customers and looks them up, `feed` notices changes, `written` keeps what the back office writes, `thread` runs all of it
beside the server.
"""
