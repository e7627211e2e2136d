"""Mode `observe`: queries are accounted for and recorded, and nobody is blocked."""
