"""Foreign identities: which external issuers are trusted, and which of their subjects is which of ours."""
