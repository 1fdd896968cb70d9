"""What an agent remembers between its sessions."""
