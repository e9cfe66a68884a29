"""Who does what while tasks wait and run. One owner for each piece of state; messages in between.

root          starts, retires and restarts queue supervisors
supervisor    one queue: its mailbox, its agenda, its attempts
agenda heap   who is next, and when to look again; pure
committer     the one writer
runner        one attempt under one deadline
mailbox messages capacity waiters services   how they speak, and what they share
"""
