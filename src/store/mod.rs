//! The cold store: where the image of the log goes when it is old or too big. It knows no Redis.
