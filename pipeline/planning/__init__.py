"""Planning: programs that give a run what its policy asks for."""
