//! The jobs of a verifier with a face.
