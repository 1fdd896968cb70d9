"""Records as OCSF API Activities."""
