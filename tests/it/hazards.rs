//! The hazards of the reference.
