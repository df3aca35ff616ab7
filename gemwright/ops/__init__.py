"""Pure tensor maths: no modules, no state. In each file the plain reference comes first, the fast routes beside it."""
