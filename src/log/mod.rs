//! The write-ahead log: the truth that memory and the cold store are images of. It carries opaque frames.
