"""PURE. Who may do what to which resource of whose: time, randomness and facts are arguments."""
