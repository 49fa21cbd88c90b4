//! The page: its canvas, and the worker that owns the GPU.
