// Empty on purpose: it lets the package declare functions without a body.
