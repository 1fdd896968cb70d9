"""Sign-in for people: the authorization server of clients, and the relying party of tenants' identity providers."""
