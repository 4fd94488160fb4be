//! image-store
