"""What the attacks stole: copies and their prices, in files, tables and pages."""
