"""Election and atomic broadcast as pure cores: input and ``now`` go in, effects come out."""
