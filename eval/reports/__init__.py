"""What an evaluation leaves behind: reports, pictures, the gate, tables."""
