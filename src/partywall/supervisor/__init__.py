"""Starts, confines, reaps and restarts the processes of one deployment; holds nothing."""
