"""The demonstration: two tenants of real work behind one wall."""
