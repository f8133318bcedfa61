"""Which rank holds which piece of which table: hardware, strategies, planning, plan files, applying and comparing plans."""
