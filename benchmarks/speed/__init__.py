"""How fast the machinery around a world is: many slots, busy machines, servers, bridges and pages."""
